"""
The flows that are tested with every version of Airflow: one table, run against real deployments and recordings.

Each flow checks the replies that it gets. `record.py` runs it against a real deployment with the DAGs of
`tests/live/remote_dags`, in the order of this table, so that a later flow can use what an earlier one made.
`test_replies.py` runs it again, without a server, with the replies recorded then.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import pytest

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    Conflict,
    DagIsPaused,
    DagNotFound,
    DagRunAlreadyExists,
    DagRunNotFound,
    InvalidSettings,
    NotFound,
    RemoteError,
    RequestRefused,
)
from astronomer_remote.api.protocol.flow import Flow, Reload, Sleep
from astronomer_remote.api.protocol.ids import INTENT_KEY
from astronomer_remote.api.protocol.models import (
    AssetEventIntent,
    AssetRef,
    Dag,
    DagRun,
    Generation,
    Pool,
    TaskInstance,
    TriggerIntent,
    utc_text,
)
from astronomer_remote.api.runs.runs import IfExists, Triggered
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.api.waiting.waiter import Waiter

Numbers = tuple[int, ...]

EXTERNAL_DATE = utc_text("2021-11-16T11:34:00", "logical_date")
FIRST = TriggerIntent("paused_dag", "contract+now:1.2~3-4", {"k": "v", "n": [1, None]})
ENDS = {"failed_states": ("failed", "upstream_failed"), "skipped_states": ("skipped",)}


@dataclass(frozen=True)
class Played:
    """
    One line of the table.

    :param play: the flow, with a deployment whose account is an administrator's.
    :param possible: whether a version can do it; where it cannot, that is said so (``NotSupported``).
    :param shows_config: whether the deployment is one that shows its configuration.
    """

    play: Callable[[Deployment], Flow[Any]]
    possible: Callable[[Numbers], bool] = lambda _: True
    shows_config: bool = False


TABLE: dict[str, Played] = {}


def client(**options: Any) -> Callable[[Callable[[Deployment], Flow[Any]]], Callable[[Deployment], Flow[Any]]]:
    def add(play: Callable[[Deployment], Flow[Any]]) -> Callable[[Deployment], Flow[Any]]:
        TABLE[play.__name__] = Played(play, **options)
        return play

    return add


def since(*numbers: int) -> Callable[[Numbers], bool]:
    return lambda version: version >= numbers


def failure(cause: type[RemoteError], flow: Flow[Any]) -> Flow[RemoteError]:
    """Play a flow that fails for a cause. :return: the error."""
    with pytest.raises(cause) as failed:
        yield from flow
    assert failed.type is cause
    return failed.value


def as_account(remote: Deployment, login: str | None, password: str | None, **more: Any) -> Deployment:
    """The same deployment, spoken to with a connection's own credentials."""
    settings = replace(remote.client.settings, login=login, password=password, authentication="auto", **more)
    kind = type(remote.client)
    return Deployment(settings, client=kind(settings, clock=remote.client.clock))


def read_a_pool(remote: Deployment) -> Flow[Pool]:
    """Something that needs a login, by a connection that stays as it is however often it is read again."""
    flow, outcome = remote.pools.get("default_pool"), None
    while True:
        try:
            step = flow.send(outcome)
        except StopIteration as end:
            return end.value
        outcome = remote.client.settings if isinstance(step, Reload) else (yield step)


def numbers(remote: Deployment) -> Flow[Numbers]:
    _, version = yield from remote.get_version()
    return version.numbers if version else (1, 10)


def ended(remote: Deployment, target: WaitTarget, status: WaitStatus) -> Flow[WaitResult]:
    """Wait, at the pace of a real deployment."""
    outcome: WaitResult = yield from remote.poller.wait(target, poke_interval=5, deadline=None)
    assert outcome.status is status, outcome.summary
    return outcome


# The deployment itself


@client()
def detect(remote: Deployment) -> Flow[Any]:
    found = yield from as_account(remote, None, None).get_version()
    assert found == (yield from remote.get_version())
    return found


@client()
def health(remote: Deployment) -> Flow[Any]:
    found = yield from remote.get_health()
    assert found.components["metadatabase"] == found.components["scheduler"] == "healthy"
    return found


@client(possible=since(2, 0))
def config_hidden(remote: Deployment) -> Flow[Any]:
    error = yield from failure(AccessDenied, remote.get_config())
    assert "the remote does not allow it" in str(error)
    return error


@client(possible=since(2, 0), shows_config=True)
def config(remote: Deployment) -> Flow[Any]:
    found = yield from remote.get_config()
    assert found["api"]["maximum_page_limit"] == "100"
    return found["api"]["maximum_page_limit"]


@client()
def call(remote: Deployment) -> Flow[Any]:
    found = yield from remote.call("GET", "/pools/default_pool")
    assert found["slots"] == 128
    return found


@client()
def call_nowhere(remote: Deployment) -> Flow[Any]:
    # 1.10 answers with the page of its UI, as a proxy would with its own.
    return (yield from failure(NotFound, remote.call("GET", "/no/such/endpoint")))


# Runs: make one


@client()
def trigger(remote: Deployment) -> Flow[Triggered]:
    made = yield from remote.runs.trigger(FIRST)
    assert not made.existed
    assert made.run.run_id == "contract+now:1.2~3-4"
    assert made.run.state in ("queued", "running")
    assert made.run.conf in ({"k": "v", "n": [1, None]}, None)
    return made


@client()
def trigger_again(remote: Deployment) -> Flow[Triggered]:
    made = yield from remote.runs.trigger(FIRST)
    assert made.existed
    assert made.run.run_id == "contract+now:1.2~3-4"
    return made


@client()
def trigger_twice_in_a_second(remote: Deployment) -> Flow[Any]:
    one = yield from remote.runs.trigger(TriggerIntent("paused_dag", "contract-first"))
    other = yield from remote.runs.trigger(TriggerIntent("paused_dag", "contract-second"))
    assert [one.existed, one.run.run_id] == [False, "contract-first"]
    assert [other.existed, other.run.run_id] == [False, "contract-second"]
    return [one, other]


@client()
def trigger_of_a_date(remote: Deployment) -> Flow[Triggered]:
    made = yield from remote.runs.trigger(TriggerIntent("paused_dag", "contract-dated", logical_date=EXTERNAL_DATE))
    assert utc_text(made.run.logical_date or "", "date") == EXTERNAL_DATE
    return made


@client()
def trigger_of_a_taken_date(remote: Deployment) -> Flow[Triggered]:
    made = yield from remote.runs.trigger(TriggerIntent("paused_dag", "contract-dated-2", logical_date=EXTERNAL_DATE))
    assert [made.existed, made.run.run_id] == [True, "contract-dated"]
    return made


@client()
def obtain_in_the_way(remote: Deployment) -> Flow[Any]:
    intent = TriggerIntent("paused_dag", "contract-dated-2", logical_date=EXTERNAL_DATE)
    return (yield from failure(DagRunAlreadyExists, remote.runs.ensure(intent, IfExists(attempt=2))))


MARK = "0123456789abcdef"


@client()
def obtain_marked(remote: Deployment) -> Flow[Any]:
    """A run of a chosen id, which shows a further attempt whose it is."""
    intent = TriggerIntent("paused_dag", "contract-marked", note="by hand", mark=MARK)
    if not (yield from remote.client.dialect()).accepts_notes:
        intent = replace(intent, note=None)
    made = yield from remote.runs.ensure(intent, IfExists(mark=MARK))
    found = yield from remote.runs.ensure(intent, IfExists(attempt=2, mark=MARK))
    assert [made.existed, found.existed, found.run.run_id] == [False, True, "contract-marked"]
    other = replace(intent, mark="fedcba9876543210")
    error = yield from failure(DagRunAlreadyExists, remote.runs.ensure(other, IfExists(attempt=2, mark=other.mark)))
    return [made, found, error]


@client(possible=since(2, 0))
def obtain_reset_marked(remote: Deployment) -> Flow[Any]:
    """A run that was taken over shows a further attempt whose it is, where it can have a note."""
    intent = TriggerIntent("paused_dag", "contract-marked", mark="fedcba9876543210")
    if_exists = IfExists(mark=intent.mark, reset=True)
    taken = yield from remote.runs.ensure(intent, if_exists)
    dialect = yield from remote.client.dialect()
    there = yield from remote.runs.get_or_none(intent.dag_id, intent.run_id)
    found = there if there and if_exists.is_ours(there, intent, dialect) else None
    if dialect.accepts_notes:
        assert found is not None
        assert found.note == taken.run.note == "by hand\n[astronomer_remote fedcba9876543210]"
    else:
        assert found is None
    return [taken, found]


@client()
def trigger_with_microseconds(remote: Deployment) -> Flow[Triggered]:
    date = "2021-11-16T11:34:00.000001Z"
    made = yield from remote.runs.trigger(TriggerIntent("paused_dag", "contract-microseconds", logical_date=date))
    assert utc_text(made.run.logical_date or "", "date") == date
    return made


@client(possible=since(2, 5))
def trigger_with_note(remote: Deployment) -> Flow[Triggered]:
    made = yield from remote.runs.trigger(TriggerIntent("paused_dag", "contract-note", note="from elsewhere"))
    assert made.run.note == "from elsewhere"
    return made


@client(possible=since(2, 9))
def trigger_with_data_interval(remote: Deployment) -> Flow[Triggered]:
    interval = ("2021-11-15T00:00:00Z", "2021-11-16T00:00:00Z")
    intent = TriggerIntent("paused_dag", "contract-interval", logical_date=interval[1], data_interval=interval)
    return (yield from remote.runs.trigger(intent))


@client(possible=since(3, 0))
def trigger_run_after(remote: Deployment) -> Flow[Triggered]:
    intent = TriggerIntent("paused_dag", "contract-later", run_after=EXTERNAL_DATE, dated_now=False)
    made = yield from remote.runs.trigger(intent)
    assert [made.run.run_after, made.run.logical_date] == [EXTERNAL_DATE, None]
    return made


@client(possible=since(3, 2))
def trigger_with_partition_key(remote: Deployment) -> Flow[Any]:
    intent = TriggerIntent("paused_dag", "contract-partition", partition_key="2021-11-16", dated_now=False)
    error = yield from failure(RequestRefused, remote.runs.trigger(intent))
    assert "partition" in str(error)
    return error


@client()
def trigger_unknown_dag(remote: Deployment) -> Flow[Any]:
    return (yield from failure(DagNotFound, remote.runs.trigger(TriggerIntent("no_such_dag", "contract-x"))))


@client()
def trigger_broken_dag(remote: Deployment) -> Flow[Any]:
    error = yield from failure(DagNotFound, remote.runs.trigger(TriggerIntent("broken_dag", "contract-x")))
    known = yield from numbers(remote)
    assert ("a_module_that_is_not_installed" in str(error)) == (known >= (2, 0)), str(error)
    return error


@client()
def trigger_with_wrong_conf(remote: Deployment) -> Flow[Any]:
    flow = remote.runs.trigger(TriggerIntent("with_params", "contract-params", {"x": "notint"}))
    if (yield from numbers(remote)) < (2, 2):
        return (yield from flow)  # no schema there
    error = yield from failure(RequestRefused, flow)
    assert "'notint' is not of type 'integer'" in str(error)
    return error


@client()
def trigger_with_odd_run_id(remote: Deployment) -> Flow[Any]:
    flow = remote.runs.trigger(TriggerIntent("paused_dag", "contract with spaces é"))
    if (yield from numbers(remote)) < (2, 6, 3):
        made = yield from flow
        assert made.run.run_id == "contract with spaces é"
        return made
    return (yield from failure(RequestRefused, flow))


# Runs: read


@client()
def get(remote: Deployment) -> Flow[DagRun]:
    run = yield from remote.runs.get("paused_dag", "contract-dated")
    assert utc_text(run.logical_date or "", "date") == EXTERNAL_DATE
    return run


@client()
def get_odd_run_id(remote: Deployment) -> Flow[DagRun]:
    return (yield from remote.runs.get("paused_dag", "contract+now:1.2~3-4"))


@client()
def get_unknown(remote: Deployment) -> Flow[Any]:
    return (yield from failure(DagRunNotFound, remote.runs.get("paused_dag", "contract-x")))


@client()
def get_of_unknown_dag(remote: Deployment) -> Flow[Any]:
    with pytest.raises(NotFound) as failed:
        yield from remote.runs.get("no_such_dag", "contract-x")
    return failed.value


@client()
def of_date(remote: Deployment) -> Flow[list[DagRun]]:
    runs = yield from remote.runs.list_all("paused_dag", EXTERNAL_DATE)
    assert [run.run_id for run in runs] == ["contract-dated"]
    return runs


@client()
def of_date_without_run(remote: Deployment) -> Flow[list[DagRun]]:
    runs = yield from remote.runs.list_all("paused_dag", "2021-11-16T11:35:00Z")
    assert runs == []
    return runs


@client()
def trigger_last(remote: Deployment) -> Flow[Triggered]:
    return (yield from remote.runs.trigger(TriggerIntent("paused_dag", "contract-last")))


@client()
def newest(remote: Deployment) -> Flow[DagRun | None]:
    run = yield from remote.runs.newest("paused_dag")
    assert run
    assert run.run_id == "contract-last"
    return run


@client()
def newest_of_none(remote: Deployment) -> Flow[DagRun | None]:
    run = yield from remote.runs.newest("sleeper")
    assert run is None
    return run


# DAGs


@client()
def dag(remote: Deployment) -> Flow[Any]:
    found = yield from remote.dags.get("quick")
    assert found.dag_id == "quick"
    return found


@client()
def dag_unknown(remote: Deployment) -> Flow[Any]:
    return (yield from failure(DagNotFound, remote.dags.get("no_such_dag")))


@client()
def refuse_paused(remote: Deployment) -> Flow[Any]:
    yield from remote.dags.refuse_paused("quick")
    return (yield from failure(DagIsPaused, remote.dags.refuse_paused("paused_dag")))


@client()
def refuse_paused_unknown(remote: Deployment) -> Flow[Any]:
    return (yield from failure(DagNotFound, remote.dags.refuse_paused("no_such_dag")))


@client()
def set_paused_unknown(remote: Deployment) -> Flow[Any]:
    return (yield from failure(DagNotFound, remote.dags.set_paused("no_such_dag", paused=True)))


@client()
def set_paused(remote: Deployment) -> Flow[Any]:
    yield from remote.dags.set_paused("sleeper", paused=True)
    error = yield from failure(DagIsPaused, remote.dags.refuse_paused("sleeper"))
    yield from remote.dags.set_paused("sleeper", paused=False)
    yield from remote.dags.refuse_paused("sleeper")
    return error


@client()
def check_existence(remote: Deployment) -> Flow[Any]:
    yield from remote.dags.check_existence("grouped", ["outside", "load.a"], None)


@client()
def check_existence_of_unknown_task(remote: Deployment) -> Flow[Any]:
    return (yield from failure(NotFound, remote.dags.check_existence("grouped", ["no_such_task"], None)))


@client()
def check_existence_in_unknown_dag(remote: Deployment) -> Flow[Any]:
    return (yield from failure(DagNotFound, remote.dags.check_existence("no_such_dag", ["outside"], None)))


@client(possible=since(2, 0))
def check_existence_of_group(remote: Deployment) -> Flow[Any]:
    yield from remote.dags.check_existence("grouped", [], "load")
    return (yield from failure(NotFound, remote.dags.check_existence("grouped", [], "no_such_group")))


@client()
def each_dag(remote: Deployment) -> Flow[Any]:
    found = yield from remote.dags.get_each(["quick", "paused_dag", "grouped", "no_such_dag"])
    assert [dag for dag in found.values() if isinstance(dag, Dag) and dag.is_stale] == []
    return [found[dag_id] for dag_id in sorted(found)]


# Pools


@client()
def pools(remote: Deployment) -> Flow[list[Pool]]:
    found = yield from remote.pools.list_all()
    assert [pool.name for pool in found] == ["default_pool"]
    return found


@client()
def pool(remote: Deployment) -> Flow[Pool]:
    return (yield from remote.pools.get("default_pool"))


@client()
def pool_unknown(remote: Deployment) -> Flow[Any]:
    return (yield from failure(NotFound, remote.pools.get("no such pool")))


@client()
def create_pool(remote: Deployment) -> Flow[Pool]:
    made = yield from remote.pools.create(Pool("contract pool", 5))
    assert made.slots == 5
    return made


@client()
def create_pool_again(remote: Deployment) -> Flow[Any]:
    flow = remote.pools.create(Pool("contract pool", 6))
    return (yield from failure(Conflict, flow))


@client(possible=lambda version: version < (2, 0) or version >= (3, 1))
def create_pool_without_end(remote: Deployment) -> Flow[Pool]:
    made = yield from remote.pools.create(Pool("endless", -1))
    assert made.slots == -1
    yield from remote.pools.delete("endless")
    return made


@client()
def update_pool(remote: Deployment) -> Flow[Pool]:
    changed = yield from remote.pools.update("contract pool", slots=7)
    assert changed.slots == 7
    return changed


@client(possible=lambda version: version < (2, 0) or version >= (2, 3))
def update_pool_description(remote: Deployment) -> Flow[Pool]:
    yield from remote.pools.create(Pool("described", 3, "what it is for"))
    changed = yield from remote.pools.update("described", description="something else")
    read = yield from remote.pools.get("described")
    assert [read.slots, read.description] == [3, "something else"]
    return changed


@client(possible=since(2, 7))
def update_pool_resets_nothing(remote: Deployment) -> Flow[Pool]:
    made = yield from remote.pools.create(Pool("counting", 3, "what it is for", include_deferred=True))
    assert made.include_deferred is True
    yield from remote.pools.update("counting", slots=4)
    read = yield from remote.pools.get("counting")
    assert [read.slots, read.description, read.include_deferred] == [4, "what it is for", True]
    yield from remote.pools.update("counting", description="")
    read = yield from remote.pools.get("counting")
    assert [read.slots, read.description or "", read.include_deferred] == [4, "", True]
    yield from remote.pools.update("counting", include_deferred=False)
    read = yield from remote.pools.get("counting")
    assert [read.slots, read.include_deferred] == [4, False]
    return read


@client()
def update_default_pool(remote: Deployment) -> Flow[Pool]:
    yield from remote.pools.update("default_pool", slots=64)
    changed = yield from remote.pools.update("default_pool", slots=128)
    read = yield from remote.pools.get("default_pool")
    assert read.slots == 128
    assert read.description in ("Default pool", None)
    return changed


@client()
def update_pool_unknown(remote: Deployment) -> Flow[Any]:
    return (yield from failure(NotFound, remote.pools.update("no such pool", slots=7)))


@client()
def sync_pools(remote: Deployment) -> Flow[list[Pool]]:
    declared = [Pool("contract pool", 9), Pool("synced", 1)]
    for _ in range(2):  # the second time there is nothing to do
        yield from remote.pool_sync.apply((yield from remote.pool_sync.plan(declared)))
    found = yield from remote.pools.list_all()
    assert {("contract pool", 9), ("synced", 1)} <= {(pool.name, pool.slots) for pool in found}
    yield from remote.pools.delete("synced")
    return found


@client()
def pool_with_slash(remote: Deployment) -> Flow[Any]:
    generation, _ = yield from remote.get_version()
    flow = remote.pools.create(Pool("one/two", 1))
    if generation is not Generation.V2:
        return (yield from failure(InvalidSettings, flow))
    yield from flow
    made = yield from remote.pools.get("one/two")
    yield from remote.pools.update("one/two", slots=2)
    yield from remote.pools.delete("one/two")
    return made


@client()
def delete_pool(remote: Deployment) -> Flow[Any]:
    yield from remote.pools.delete("contract pool")
    return (yield from failure(NotFound, remote.pools.delete("contract pool")))


# Waits


@client()
def wait_success(remote: Deployment) -> Flow[WaitResult]:
    made = yield from remote.runs.trigger(TriggerIntent("grouped", "contract-success"))
    target = WaitTarget("grouped", made.run.run_id, failed_states=("failed",))
    outcome = yield from ended(remote, target, WaitStatus.SUCCESS)
    assert outcome.run
    assert outcome.run.state == "success"
    return outcome


@client()
def wait_failure(remote: Deployment) -> Flow[WaitResult]:
    made = yield from remote.runs.trigger(TriggerIntent("failing", "contract-failure"))
    return (
        yield from ended(remote, WaitTarget("failing", made.run.run_id, failed_states=("failed",)), WaitStatus.FAILED)
    )


@client()
def ended_runs(remote: Deployment) -> Flow[list[DagRun]]:
    hour_ago = remote.client.clock() - 3600
    runs = yield from remote.runs.ended(["failing", "no_such_dag", "grouped"], since=hour_ago, bound=hour_ago)
    assert {run.run_id for run in runs} == {"contract-success", "contract-failure"}
    return runs


@client()
def wait_for_tasks(remote: Deployment) -> Flow[WaitResult]:
    target = WaitTarget("grouped", "contract-success", task_ids=("outside", "load.b"), **ENDS)
    return (yield from ended(remote, target, WaitStatus.SUCCESS))


@client()
def wait_for_failed_task(remote: Deployment) -> Flow[WaitResult]:
    target = WaitTarget("failing", "contract-failure", task_ids=("after",), **ENDS)
    return (yield from ended(remote, target, WaitStatus.FAILED))


@client(possible=since(2, 0))
def wait_for_group(remote: Deployment) -> Flow[WaitResult]:
    target = WaitTarget("grouped", "contract-success", task_group_id="load", **ENDS)
    outcome = yield from ended(remote, target, WaitStatus.SUCCESS)
    assert outcome.summary == "run contract-success, group load: success"
    return outcome


@client(possible=since(2, 0))
def instances_at_once(remote: Deployment) -> Flow[list[TaskInstance]]:
    """As for a run that has more than a page of them."""
    run = yield from remote.runs.get("grouped", "contract-success")
    dialect = yield from remote.client.dialect()
    page = yield from remote.client.request(dialect.task_instances(run, limit=1_000))
    assert sorted(each.task_id for each in page.items) == ["load.a", "load.b", "outside"]
    assert page.total == 3
    return page.items


@client()
def wait_for_date(remote: Deployment) -> Flow[WaitResult]:
    yield from remote.runs.trigger(TriggerIntent("quick", "contract-dated", logical_date=EXTERNAL_DATE))
    target = WaitTarget("quick", logical_dates=(EXTERNAL_DATE,), failed_states=("failed",))
    return (yield from ended(remote, target, WaitStatus.SUCCESS))


@client()
def wait_for_newest(remote: Deployment) -> Flow[WaitResult]:
    outcome = yield from ended(remote, WaitTarget("failing", newest=True, failed_states=("failed",)), WaitStatus.FAILED)
    assert outcome.run
    assert outcome.run.run_id == "contract-failure"
    return outcome


@client(possible=since(2, 0))
def xcom(remote: Deployment) -> Flow[Any]:
    found = yield from remote.get_xcom("grouped", "contract-success", "load.a", "return_value")
    assert found == "a"
    return found


@client(possible=since(2, 0))
def xcom_of_json(remote: Deployment) -> Flow[Any]:
    made = yield from remote.runs.trigger(TriggerIntent("quick", "contract-xcom", {"k": "v", "n": [1, None]}))
    target = WaitTarget("quick", made.run.run_id, failed_states=("failed",))
    yield from ended(remote, target, WaitStatus.SUCCESS)
    found = yield from remote.get_xcom("quick", made.run.run_id, "hello", "return_value")
    known = yield from numbers(remote)
    # Before 2.10 it comes as Python's representation, and as text it stays.
    value = {"conf": {"k": "v", "n": [1, None]}}
    assert found == (value if known >= (2, 10) else str(value))
    return found


@client(possible=since(2, 0))
def xcom_unknown(remote: Deployment) -> Flow[Any]:
    flow = remote.get_xcom("grouped", "contract-success", "load.a", "no_such_key")
    return (yield from failure(NotFound, flow))


@client()
def reasons(remote: Deployment) -> Flow[Any]:
    made = yield from remote.runs.trigger(TriggerIntent("failing", "contract-reasons"))
    outcome = yield from ended(
        remote, WaitTarget("failing", made.run.run_id, failed_states=("failed",)), WaitStatus.FAILED
    )
    report = yield from remote.failures.report(outcome.run, log_lines=20)
    if (yield from numbers(remote)) >= (2, 0):
        (boom,) = report.tasks
        assert (boom.instance.name, report.failed_count, report.task_count) == ("boom", 1, 3)
        assert any("boom on purpose" in line for line in boom.log)
    return report


@client(possible=since(2, 8))
def ended_tasks(remote: Deployment) -> Flow[list[TaskInstance]]:
    made = yield from remote.runs.trigger(TriggerIntent("grouped", "contract-tasks"))
    yield from ended(remote, WaitTarget("grouped", made.run.run_id), WaitStatus.SUCCESS)
    runs, hour_ago = [("grouped", "contract-tasks"), ("no_such_dag", "x")], remote.client.clock() - 3600
    found = yield from remote.poller.ended_tasks(runs, since=hour_ago)
    assert {(each.run_id, each.task_id, each.state) for each in found} == {
        ("contract-tasks", task, "success") for task in ("load.a", "load.b", "outside")
    }
    return found


@client(possible=since(2, 0))
def stream_logs(remote: Deployment) -> Flow[Any]:
    """What a task writes while it runs, what it wrote last, and each line once."""
    yield from remote.follower.check()
    made = yield from remote.runs.trigger(TriggerIntent("chatty", "contract-stream", {"seconds": 20}))
    target = WaitTarget("chatty", made.run.run_id, task_ids=("speak",), allowed_states=("running",))
    yield from ended(remote, target, WaitStatus.SUCCESS)
    lines: list[Any] = []
    waiter = Waiter(WaitTarget("chatty", made.run.run_id, stream=("speak", "typo")), 5, lines.append, answered_at=0.0)
    while not waiter.ended:
        yield from remote.follower.follow(waiter)
        waiter.follow_due = 0.0
        yield Sleep(5)
        yield from remote.poller.poll(waiter)
    yield from remote.follower.report_last_lines(waiter)
    lines = [str(line) for line in lines if isinstance(line, str) and not line.startswith("Waiting for")]
    assert lines[0] == "The run has no task typo, so its log cannot be shown."
    spoken = [re.search(r"speak: .*(word \d of 5)", line) for line in lines]
    assert [word[1] for word in spoken if word] == [f"word {number} of 5" for number in range(1, 6)], lines
    assert not any("***" in line or "::" in line for line in lines), lines
    return lines


@client(possible=since(2, 10))
def results(remote: Deployment) -> Flow[Any]:
    yield from remote.results.check()
    made = yield from remote.runs.trigger(TriggerIntent("quick", "contract-results", {"k": "v", "n": [1, None]}))
    outcome = yield from ended(remote, WaitTarget("quick", made.run.run_id), WaitStatus.SUCCESS)
    found = yield from remote.results.read(outcome.run, ["hello"])
    assert found == {"hello": {"conf": {"k": "v", "n": [1, None]}}}
    assert not (yield from remote.results.all_skipped(outcome.run))
    return found


# Runs: change


@client()
def trigger_for_long(remote: Deployment) -> Flow[Triggered]:
    return (yield from remote.runs.trigger(TriggerIntent("sleeper", "contract-cancel", {"seconds": 20})))


@client(possible=since(2, 2))
def cancel(remote: Deployment) -> Flow[DagRun]:
    run = yield from remote.runs.cancel("sleeper", "contract-cancel")
    assert run.state == "failed"
    return run


@client(possible=since(2, 2))
def cancel_ended(remote: Deployment) -> Flow[DagRun]:
    run = yield from remote.runs.cancel("grouped", "contract-success")
    assert run.state == "success"
    return run


@client(possible=since(2, 2))
def cancel_unknown(remote: Deployment) -> Flow[Any]:
    return (yield from failure(DagRunNotFound, remote.runs.cancel("sleeper", "contract-x")))


@client(possible=since(2, 0))
def clear_failed(remote: Deployment) -> Flow[Any]:
    before = yield from remote.runs.get("failing", "contract-failure")
    run = yield from remote.runs.clear(before, only_failed=True)
    assert not run.finished
    yield from ended(remote, WaitTarget("failing", run.run_id, failed_states=("failed",)), WaitStatus.FAILED)
    tasks = yield from remote.call("GET", f"/dags/failing/dagRuns/{run.run_id}/taskInstances")
    tries = {each["task_id"]: each["try_number"] for each in tasks["task_instances"]}
    assert (tries["ok"], tries["boom"]) == (1, 2)
    return tries


@client(possible=since(2, 0))
def clear(remote: Deployment) -> Flow[Any]:
    before = yield from remote.runs.get("failing", "contract-failure")
    run = yield from remote.runs.clear(before)
    assert not run.finished
    yield from ended(remote, WaitTarget("failing", run.run_id, failed_states=("failed",)), WaitStatus.FAILED)
    tasks = yield from remote.call("GET", f"/dags/failing/dagRuns/{run.run_id}/taskInstances")
    tries = {each["task_id"]: each["try_number"] for each in tasks["task_instances"]}
    assert (tries["ok"], tries["boom"]) == (2, 3)
    return tries


@client(possible=since(2, 0))
def obtain_reset(remote: Deployment) -> Flow[Triggered]:
    intent = TriggerIntent("paused_dag", "contract-dated-2", logical_date=EXTERNAL_DATE)
    taken = yield from remote.runs.ensure(intent, IfExists(reset=True))
    assert [taken.existed, taken.run.run_id] == [True, "contract-dated"]
    return taken


@client()
def obtain_after_failure(remote: Deployment) -> Flow[Triggered]:
    made = yield from remote.runs.ensure(
        TriggerIntent("failing", "contract-failure"), IfExists(generated_id=True, attempt=2)
    )
    assert [made.existed, made.run.run_id] == [False, "contract-failure.2"]
    return made


@client(possible=since(2, 0))
def delete(remote: Deployment) -> Flow[Any]:
    yield from remote.runs.delete("grouped", "contract-success")
    return (yield from failure(DagRunNotFound, remote.runs.delete("grouped", "contract-success")))


# Assets

ORDERS = AssetRef(uri="s3://contract/orders")
ORPHANS = AssetRef(uri="s3://contract/orphans")
EVENT = AssetEventIntent(ORDERS, "0123456789abcdef", {"rows": 7, "nested": {"deep": [1, None]}})


@client(possible=since(2, 4))
def assets(remote: Deployment) -> Flow[Any]:
    found = {asset.uri: asset for asset in (yield from remote.list_assets())}
    assert set(found) == {"s3://contract/orders", "s3://contract/orphans"}
    orders = found["s3://contract/orders"]
    assert orders.producing_dag_ids == ("produces_asset",)
    assert orders.consuming_dag_ids == ("consumes_assets",)
    assert orders.name == (None if (yield from numbers(remote)) < (3, 0) else "orders")
    return list(found.values())


@client(possible=since(2, 4))
def assets_by_pattern(remote: Deployment) -> Flow[Any]:
    found = yield from remote.list_assets(uri_pattern="contract/order")
    assert [asset.uri for asset in found] == ["s3://contract/orders"]
    return found


@client(possible=since(2, 4))
def asset_by_uri_or_name(remote: Deployment) -> Flow[Any]:
    by_name = (yield from numbers(remote)) >= (3, 0)
    found = yield from remote.assets.get(AssetRef("orders", "orders") if by_name else ORDERS)
    assert found.uri == "s3://contract/orders"
    return found


@client(possible=since(2, 4))
def asset_unknown(remote: Deployment) -> Flow[Any]:
    error = yield from failure(NotFound, remote.assets.get(AssetRef(uri="s3://contract/order")))
    assert "Similar ones are: 's3://contract/orders'" in str(error)
    return error


@client(possible=since(2, 9))
def asset_event(remote: Deployment) -> Flow[Any]:
    event = yield from remote.assets.register_event(EVENT)
    assert event.extra == {**EVENT.extra, INTENT_KEY: EVENT.mark, "from_rest_api": True}
    assert event.source_dag_id is None
    return event


@client(possible=since(2, 9))
def asset_event_retried(remote: Deployment) -> Flow[Any]:
    event = yield from remote.assets.register_event(replace(EVENT, first_attempt=remote.client.clock() - 60))
    assert event.extra[INTENT_KEY] == EVENT.mark
    return event


@client(possible=since(3, 2))
def asset_event_of_partition(remote: Deployment) -> Flow[Any]:
    intent = AssetEventIntent(ORPHANS, "fedcba9876543210", partition_key="2026-11-01")
    event = yield from remote.assets.register_event(intent)
    assert event.partition_key == "2026-11-01"
    return event


@client(possible=since(2, 9))
def asset_events(remote: Deployment) -> Flow[Any]:
    orders = yield from remote.assets.get(ORDERS)
    events = yield from remote.assets.list_events(orders, most=100)
    assert [event.extra[INTENT_KEY] for event in events] == [EVENT.mark]
    late = utc_text(datetime.fromtimestamp(remote.client.clock() + 3600, timezone.utc), "since")
    assert (yield from remote.assets.list_events(orders, since=late, most=100)) == []
    return events


@client(possible=since(2, 4))
def materialize(remote: Deployment) -> Flow[Triggered]:
    intent = TriggerIntent("", "contract-materialize", {"k": "v"})
    made = yield from remote.assets.materialize(ORDERS, intent, IfExists())
    assert [made.run.dag_id, made.run.run_id, made.run.conf] == ["produces_asset", "contract-materialize", {"k": "v"}]
    return made


@client(possible=since(2, 4))
def materialize_twice(remote: Deployment) -> Flow[Any]:
    intent = TriggerIntent("", "contract-materialize")
    return (yield from failure(DagRunAlreadyExists, remote.assets.materialize(ORDERS, intent, IfExists())))


@client(possible=since(2, 4))
def materialize_without_producer(remote: Deployment) -> Flow[Any]:
    intent = TriggerIntent("", "contract-orphans")
    return (yield from failure(NotFound, remote.assets.materialize(ORPHANS, intent, IfExists())))


# Who we are


@client()
def log_in(remote: Deployment) -> Flow[Any]:
    """Detection, login and, where there is one, the change from Basic to a web session."""
    admin = as_account(remote, "admin", "admin")
    for _ in range(12):
        found = yield from read_a_pool(admin)
    return found


def not_let_in(stranger: Deployment) -> Flow[Any]:
    if (yield from numbers(stranger)) < (2, 0):
        return (yield from read_a_pool(stranger))  # which requires no login
    return (yield from failure(AuthenticationFailed, read_a_pool(stranger)))


@client()
def log_in_wrongly(remote: Deployment) -> Flow[Any]:
    return (yield from not_let_in(as_account(remote, "admin", "wrong")))


@client()
def nobody(remote: Deployment) -> Flow[Any]:
    return (yield from not_let_in(as_account(remote, None, None)))


@client()
def wrong_token(remote: Deployment) -> Flow[Any]:
    return (yield from not_let_in(as_account(remote, None, "wrong")))


@client()
def viewer_may_not(remote: Deployment) -> Flow[Any]:
    viewer = as_account(remote, "viewer", "viewer")
    yield from viewer.runs.get("quick", "contract-dated")
    flow = viewer.runs.trigger(TriggerIntent("quick", "contract-viewer"))
    if (yield from numbers(remote)) < (2, 0):
        return (yield from flow)
    error = yield from failure(AccessDenied, flow)
    assert "trigger DAG 'quick'" in str(error)
    assert "User" in str(error)
    return error
