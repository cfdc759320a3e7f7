"""Run inside an environment that has Airflow and the wheel, and nothing else of ours: the first DAG of the README."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

DAG = """
from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

with DAG("orders", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None) as dag:
    RemoteTriggerDagRunOperator(
        task_id="load", trigger_dag_id="load_sales", wait_for_completion=True, deferrable=True, poke_interval=0.1
    )

if __name__ == "__main__":
    print("ENDED", dag.test().state)
"""

# The standard provider of Airflow 3.0.6 imports HTTP libraries, which a DAG file with our operators must not pay for.
PARSE = """
import sys
from airflow.providers.common.compat.sdk import DAG, BaseOperator, BaseSensorOperator
before = set(sys.modules)
from astronomer_remote.operators import dag, dag_run, pool, pool_loan
from astronomer_remote.sensors import dag_run, pool
print(sorted({"aiohttp", "httpx", "requests", "urllib3", "yarl"} & (set(sys.modules) - before)))
"""


def airflow(*arguments: str) -> str:
    """What an `airflow` command prints."""
    done = subprocess.run([Path(sys.executable).with_name("airflow"), *arguments], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def rows(*arguments: str) -> list[dict[str, str]]:
    """What an `airflow` command lists; Airflow 3.0 logs to the same place before it does."""
    text = airflow(*arguments, "--output", "json")
    found: list[dict[str, str]] = json.loads(text[text.index("[{") :])
    return found


def main(home: Path, *remotes: str) -> None:
    """
    :param home: an empty folder to be the AIRFLOW_HOME.
    :param remotes: versions of fake deployments to run a DAG against.
    """
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    listed = {each["package_name"]: each["version"] for each in rows("providers", "list")}
    hooks = {each["connection_type"]: each for each in rows("providers", "hooks")}
    airflow("db", "migrate")

    import astronomer_remote
    from astronomer_remote.testing import FakeDeployment

    assert Path(sys.prefix) in Path(astronomer_remote.__file__).parents, astronomer_remote.__file__
    assert listed["airflow-provider-astronomer-remote"] == astronomer_remote.__version__, listed
    assert hooks["astronomer"]["hook_name"] == "Astronomer Deployment", hooks
    assert hooks["astronomer"]["class"] == "astronomer_remote.hooks.astronomer.AstronomerHook", hooks
    importlib.import_module("astronomer_remote.hooks.astronomer")
    parsed = subprocess.run([sys.executable, "-I", "-c", PARSE], stdout=subprocess.PIPE, check=True)
    assert parsed.stdout.splitlines()[-1] == b"[]", parsed.stdout
    file = home / "orders.py"
    file.write_text(DAG)
    for version in remotes:
        with FakeDeployment(version) as remote:
            remote.add_dag("load_sales", polls=2)
            os.environ["AIRFLOW_CONN_ASTRONOMER_DEFAULT"] = json.dumps(remote.connection())
            done = subprocess.run([sys.executable, file], stdout=subprocess.PIPE, check=True)
            assert b"success" in done.stdout.rpartition(b"ENDED")[2], done.stdout.decode()
            assert [run["state"] for run in remote.runs("load_sales")] == ["success"]
    print("works")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
