"""Workers and triggerers that are suspended until Airflow has given up on them, and then resume; on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dev import faults
from dev.database import programs
from dev.faults import Rule
from tests.live.fault_cases import TRIGGER
from tests.live.plan import DEFERRABLE, SYNC, Pair
from tests.live.stage import WAITS, Stage, Waiting, stage
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

PAIRS = (Pair("2.11.2", "2.11.2"), Pair("3.0.6", "2.11.2"), Pair("3.3.2", "2.11.2"))
# The limit of a first try, as `local_dags/_kill.py` has it.
FIRST_LIMIT = 60.0
# What has resumed needs some time to do harm.
SECONDS_TO_DO_HARM = 15.0


@pytest.fixture(scope="module", params=PAIRS, ids=str)
def on(request: pytest.FixtureRequest) -> Iterator[Stage]:
    # Raises what skips the test where there is no server.
    programs()
    with stage(request.param, database="postgresql") as started:
        yield started


def test_a_worker_whose_time_is_over_leaves_the_run_to_the_try_that_waits_for_it(on: Stage) -> None:
    (waiting,) = on.start(("overtaken", SYNC))
    waiting.until_it_waits()
    over = time.monotonic() + FIRST_LIMIT + 5
    with waiting.suspended_worker():
        until_the_next_try_waits(waiting)
        time.sleep(max(0.0, over - time.monotonic()))
    finish(waiting, cancelled=0)


def test_a_worker_that_hears_late_that_its_run_is_made_leaves_it_to_the_next_try(on: Stage) -> None:
    (waiting,) = on.start(("overtaken", DEFERRABLE), rules=[Rule([("held", faults.hold)], "POST", TRIGGER, nth=(1,))])
    waiting.until({"running": 1}, [waiting.remote_state])
    with waiting.suspended_worker():
        until_the_next_try_waits(waiting)
    finish(waiting, cancelled=0)


def test_a_triggerer_whose_time_is_over_leaves_the_run_to_the_try_that_waits_for_it(on: Stage) -> None:
    (waiting,) = on.start(("cleared_again", DEFERRABLE))
    waiting.until_it_waits()
    with on.suspended_triggerer():
        # The other triggerer cancels the run when its time is over, and the next try clears it.
        until_the_next_try_waits(waiting)
        assert waiting.proxy.requests("PATCH") == 1
    # The first triggerer finds the time over, or the trigger taken away from it: what it says of that is up to Airflow.
    wait_until(lambda: triggerers_at_work(on) == 2, waiting.describe)
    finish(waiting, cancelled=1)


def triggerers_at_work(on: Stage) -> int:
    beats = "job_type = 'TriggererJob' AND latest_heartbeat > now() - interval '20 seconds'"
    ((number,),) = on.local.query(f"SELECT count(*) FROM job WHERE {beats}")
    return int(number)


def until_the_next_try_waits(waiting: Waiting) -> None:
    def waits() -> bool:
        waiting.stage.local.check_alive()
        return waiting.tries == 2 and waiting.states == {WAITS[waiting.mode]: 1}

    wait_until(waits, waiting.describe, timeout=240)
    before = waiting.looks
    wait_until(lambda: waiting.looks > before, waiting.describe)
    # One that was cleared is queued at first.
    waiting.until({WAITS[waiting.mode]: 1}, [waiting.remote_state])


def finish(waiting: Waiting, cancelled: int) -> None:
    """Check that the second try succeeds with the one run, and that nothing cancels it meanwhile."""
    time.sleep(SECONDS_TO_DO_HARM)
    assert waiting.proxy.requests("PATCH") == cancelled, waiting.describe()
    waiting.until({WAITS[waiting.mode]: 1}, [waiting.remote_state])
    with waiting.stage.opened():
        waiting.until({"success": 1}, ["success"])
    assert waiting.proxy.requests("PATCH") == cancelled
    # Airflow 2.11 takes the end of a try that it gave up for the end of the one that runs, and tries again.
    assert waiting.tries == 2 or waiting.stage.pair.local == "2.11.2"
