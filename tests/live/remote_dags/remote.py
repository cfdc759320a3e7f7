"""The DAGs of the remote deployment in the live tests, unchanged on airflow 1.10, 2.x and 3.x.

They stand in one file because Airflow 1.10 on SQLite looks at one file each second, and schedules the tasks
of a DAG only when it looks at its file.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any, Callable

from airflow import __version__
from airflow.exceptions import AirflowSkipException

AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])

if AIRFLOW >= (3, 0):
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG, Param, TaskGroup
elif AIRFLOW >= (2, 0):
    from airflow import DAG
    from airflow.operators.python import PythonOperator
    from airflow.utils.task_group import TaskGroup

    if AIRFLOW >= (2, 2):
        from airflow.models.param import Param
else:
    from airflow import DAG
    from airflow.operators.python_operator import PythonOperator

MAPS = AIRFLOW >= (2, 3)

Conf = dict  # of str to anything; Python 3.8 cannot subscript it where it is evaluated

# Never scheduled, no backlog, and room for many runs at a time.
OPTIONS: dict[str, Any] = {
    "start_date": datetime(2021, 1, 1, tzinfo=timezone.utc),
    "catchup": False,
    "max_active_runs": 16,
    ("schedule" if AIRFLOW >= (2, 4) else "schedule_interval"): None,
}


def task(task_id: str, function: Callable[[Conf], Any], retries: int = 0) -> PythonOperator:
    """Return a task that calls `function` with the conf of its DAG run."""

    def call(**context: Any) -> Any:
        return function(context["dag_run"].conf or {})

    old = {"provide_context": True} if AIRFLOW < (2, 0) else {}
    return PythonOperator(
        task_id=task_id, python_callable=call, retries=retries, retry_delay=timedelta(seconds=1), **old
    )


def hello(conf: Conf) -> dict[str, Any]:
    """Hand the conf back."""
    print(f"hello, conf is {conf}")
    return {"conf": conf}


def ok(conf: Conf) -> str:
    """Succeed."""
    return "ok"


def boom(conf: Conf) -> None:
    """Fail."""
    raise ValueError("boom on purpose")


def sleep(conf: Conf) -> None:
    """Take as long as the conf says."""
    time.sleep(float(conf.get("seconds", 30)))


def speak(conf: Conf) -> None:
    """Say something now and then, for as long as the conf says."""
    for number in range(1, 6):
        print(f"word {number} of 5", flush=True)
        time.sleep(float(conf.get("seconds", 30)) / 5)


def maybe(conf: Conf) -> str:
    """Fail when the conf says so."""
    if conf.get("fail"):
        raise RuntimeError("failed because the conf said so")
    return "fine"


def load_a(conf: Conf) -> str:
    """Skip when the conf says so."""
    if conf.get("skip_a"):
        raise AirflowSkipException("skipped because the conf said so")
    return "a"


def load_b(conf: Conf) -> str:
    """Fail when the conf says so."""
    if conf.get("fail_b"):
        raise RuntimeError("failed because the conf said so")
    return "b"


def chatter(conf: Conf) -> None:
    """Write 5 MB into the log, and fail."""
    for number in range(50_000):
        print(f"line {number:06} of a task that has much to say, and says it again and again and again and again")
    raise RuntimeError("failed after 50000 lines")


def part(number: int) -> int:
    """Fail for one of several."""
    if number == 2:
        raise ValueError(f"part {number} is broken on purpose")
    return number


with DAG("quick", **OPTIONS) as quick:
    task("hello", hello)

with DAG("failing", **OPTIONS) as failing:
    task("ok", ok) >> task("boom", boom) >> task("after", ok)

# Twelve tasks, three of which fail by themselves: one on its second try, one at great length, one of mapped ones.
with DAG("crowded", **OPTIONS) as crowded:
    start = task("start", ok)
    stubborn = task("stubborn", boom, retries=1)
    talkative = task("talkative", chatter)
    if MAPS:
        parts = PythonOperator.partial(task_id="parts", python_callable=part, retries=0).expand(op_args=[[1], [2], [3]])
    else:
        parts = task("parts", lambda conf: part(2))
    start >> [stubborn, talkative, parts]
    for number, above in enumerate((stubborn, talkative, parts), start=1):
        above >> task(f"after_{number}", ok) >> task(f"long_after_{number}", ok)
    start >> task("aside", ok) >> task("beside", ok)

with DAG("sleeper", **OPTIONS) as sleeper:
    task("sleep", sleep)

with DAG("chatty", **OPTIONS) as chatty:
    task("speak", speak)

with DAG("flaky", **OPTIONS) as flaky:
    task("maybe", maybe)

with DAG("grouped", **OPTIONS) as grouped:
    if AIRFLOW >= (2, 0):
        with TaskGroup("load"):
            task("a", load_a)
            task("b", load_b)
    else:  # no groups yet, but the same task ids
        task("load.a", load_a)
        task("load.b", load_b)
    task("outside", ok)

# Since 2.2 an x that is no integer is refused.
with DAG("with_params", params={"x": Param(1, type="integer") if AIRFLOW >= (2, 2) else 1}, **OPTIONS) as with_params:
    task("show", lambda conf: conf.get("x"))

with DAG("paused_dag", is_paused_upon_creation=True, **OPTIONS) as paused_dag:
    task("nothing", ok)

if AIRFLOW >= (2, 4):
    if AIRFLOW >= (3, 0):
        from airflow.sdk import Asset

        orders = Asset(name="orders", uri="s3://contract/orders")
        orphans = Asset(name="orphans", uri="s3://contract/orphans")
    else:
        from airflow import Dataset

        orders, orphans = Dataset("s3://contract/orders"), Dataset("s3://contract/orphans")

    with DAG("produces_asset", **OPTIONS) as produces_asset:
        task("produce", ok).add_outlets([orders])

    # Paused, so that events start nothing.
    with DAG("consumes_assets", is_paused_upon_creation=True, **{**OPTIONS, "schedule": [orders, orphans]}) as consumer:
        task("consume", ok)
