"""A remote that means harm, and a local deployment on PostgreSQL, which refuses some of what JSON can hold."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from dev.database import programs
from dev.faults import ProxiedRequest, Rule
from tests.live.fault_cases import TRIGGER
from tests.live.plan import BOTH, DEFERRABLE, Pair
from tests.live.stage import Stage, stage
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]

PAIRS = (Pair("2.11.2", "2.11.2"), Pair("3.3.2", "2.11.2"))


def nested(levels: int) -> Any:
    """Lists within lists."""
    value: Any = "the innermost"
    for _ in range(levels):
        value = [value]
    return value


CONFS: dict[str, Any] = {
    "null_character": {"a\0b": "c\0d"},
    "not_a_number": {"values": [math.nan, math.inf, -math.inf]},
    "surrogate": {"half": "\ud800", "other half": "\udc00 alone"},
    "deep": {"deep": nested(100)},
    "large": {"large": "x" * 5_000_000},
    "huge_number": {"number": 10**300},
}


@pytest.fixture(scope="module", params=PAIRS, ids=str)
def on(request: pytest.FixtureRequest) -> Iterator[Stage]:
    # Raises what skips the test where there is no server.
    programs()
    # In MB; 2.11 is the first version that has a limit, and it is 1.
    room = {"AIRFLOW__WEBSERVER__ALLOWED_PAYLOAD_SIZE": "10"}
    with stage(request.param, database="postgresql", remote_settings=room) as started:
        yield started


def test_no_conf_of_a_remote_run_ends_the_triggerer(on: Stage) -> None:
    for number, (kind, conf) in enumerate(CONFS.items()):
        for second, name in enumerate((f"seen-{kind}", f"taken-{kind}")):
            # All it takes is an account that may trigger a DAG.
            on.remote.make_run("held", name, f"2024-01-05T06:{number:02}:{second:02}Z", conf, role="user")
    hostile, innocent = on.start(("hostile", DEFERRABLE), ("held", DEFERRABLE))

    def as_they_should(state: str) -> bool:
        on.local.check_alive()
        return hostile.states == {state: 2 * len(CONFS)} and innocent.states == {state: 1}

    wait_until(lambda: as_they_should("deferred"), hostile.describe)
    triggerer = on.local.deployment.processes["triggerer"]
    with on.opened():
        wait_until(lambda: as_they_should("success"), hostile.describe)
    assert on.local.deployment.processes["triggerer"] == triggerer
    # Nothing of it has reached the database, and a task that comes later finds what is of use.
    for kind in CONFS:
        run = returned(on, hostile.dag_id, f"take_{kind}")
        assert (run["run_id"], run["state"]) == (f"taken-{kind}", "success")
        assert len(json.dumps(run)) < 100_000
    assert returned(on, hostile.dag_id, "take_not_a_number")["conf"] == {"values": [None, None, None]}


def returned(on: Stage, dag_id: str, task_id: str) -> Any:
    """What a local task returned."""
    run = on.local.run(dag_id)
    assert run
    value = on.local.xcom(dag_id, run["dag_run_id"], task_id, "return_value", -1)
    return json.loads(value) if isinstance(value, str) else value


@pytest.mark.parametrize("mode", BOTH)
def test_replies_that_are_lost_make_one_run_per_attempt(on: Stage, mode: str) -> None:
    async def lose_when_failed(request: ProxiedRequest) -> None:
        """The remote acts; no reply comes, and by then the run has failed."""
        await request.forward()
        for _ in range(240):
            states = await asyncio.to_thread(waiting.remote_states)
            if states and set(states) == {"failed"}:
                break
            await asyncio.sleep(0.25)
        request.hang_up()

    (waiting,) = on.start(("fails_fast", mode), rules=[Rule([("lost", lose_when_failed)], "POST", TRIGGER)])

    def over() -> bool:
        on.local.check_alive()
        # Whatever else happens, none is made for what an attempt has made already.
        assert len(waiting.runs) <= 2, waiting.describe()
        return waiting.states == {"failed": 1}

    wait_until(over, waiting.describe)
    assert (waiting.remote_states(), waiting.tries) == (["failed", "failed"], 2), waiting.describe()
    assert waiting.proxy.requests("POST", TRIGGER, forwarded=True) <= 4
