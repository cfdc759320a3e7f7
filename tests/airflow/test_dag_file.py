"""What a DAG file pays for importing our operators and sensors, in an interpreter of its own."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.waiting.target import WaitTarget

CODE = """
import inspect, json, sys
from airflow.providers.common.compat.sdk import DAG, BaseOperator, BaseSensorOperator

before = set(sys.modules)
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators import dag, pool, pool_loan
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor

all_ = (RemoteTriggerDagRunOperator, RemoteDagRunSensor, RemotePoolSlotSensor)
print(json.dumps({
    "imported": sorted(set(sys.modules) - before),
    "deferrable": [inspect.signature(each.__init__).parameters["deferrable"].default for each in all_],
}))
"""


@pytest.fixture(scope="module")
def imported() -> Any:
    environment = {**os.environ, "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_no_http_library_is_imported(imported: Any) -> None:
    packages = {name.partition(".")[0] for name in imported["imported"]}
    assert not packages & {"requests", "aiohttp", "urllib3", "yarl", "httpx"}


def test_no_hook_is_imported(imported: Any) -> None:
    assert "astronomer_remote.operators.dag_run" in imported["imported"]
    assert not [name for name in imported["imported"] if name.startswith("astronomer_remote.hooks.")]
    assert "airflow.providers.http" not in imported["imported"]


def test_deferrable_by_default_is_honoured(imported: Any) -> None:
    assert imported["deferrable"] == [True, True, True]


def test_nothing_of_the_fake_deployment_is_imported_with_the_package(imported: Any) -> None:
    assert not [name for name in imported["imported"] if name.startswith("astronomer_remote.testing")]
    from astronomer_remote import testing

    assert inspect.ismodule(testing)


# Says of each HTTP library whether it was imported in the thread of the event loop.
WAIT = """
import asyncio, json, sys, threading
from importlib import import_module

class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in ("aiohttp", "requests"):
            found.setdefault(name, threading.current_thread() is threading.main_thread())

async def events(trigger):
    return [event async for event in trigger.run()]

module, name, target = json.loads(sys.argv[1])
trigger = getattr(import_module(module), name)(astronomer_conn_id="odd", target=target, poke_interval=1)
found = {}
sys.meta_path.insert(0, Spy())
asyncio.run(events(trigger))
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("module", "name", "target"),
    [
        ("astronomer_remote.triggers.wait", "RemoteWaitTrigger", WaitTarget("d", "r").as_dict()),
        ("astronomer_remote.triggers.pool", "RemotePoolTrigger", PoolTarget("p").as_dict()),
    ],
)
def test_no_event_loop_waits_for_an_http_library(module: str, name: str, target: dict[str, Any]) -> None:
    odd = json.dumps({"conn_type": "astronomer", "host": "http://"})
    command = [sys.executable, "-c", WAIT, json.dumps([module, name, target])]
    environment = {**os.environ, "AIRFLOW_CONN_ODD": odd}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    # Airflow 2.11 has imported requests by itself before.
    assert "aiohttp" in found
    assert not any(found.values())
