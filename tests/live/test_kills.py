"""What becomes of a remote run when its local task, or what carries that, is ended; with real deployments."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from dev import faults
from dev.faults import Rule
from dev.versions import Release
from tests.live import kill_table
from tests.live.fault_cases import TRIGGER
from tests.live.plan import BOTH, DEFERRABLE, SYNC
from tests.live.stage import WAITS, Stage, Waiting, stage
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]


class Cancelled:
    """One task for each cell, all of which wait before the first is ended."""

    def __init__(self, on: Stage, target: list[tuple[str, str, str]]) -> None:
        started = on.start(*((name, mode) for _, name, mode in target))
        self.cells = dict(zip(target, started, strict=True))
        for each in started:
            each.until_it_waits()


@pytest.fixture(scope="module", params=kill_table.PAIRS, ids=str)
def on(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage(request.param) as started:
        yield started


@pytest.fixture(scope="module")
def cancelled(request: pytest.FixtureRequest, on: Stage) -> Cancelled:
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    params = [item.callspec.params for item in items if "act" in item.fixturenames]
    return Cancelled(on, [(p["act"], p["name"], p["mode"]) for p in params if p["on"] == on.pair])


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("name", kill_table.REMOTELY)
@pytest.mark.parametrize("act", kill_table.ACTS)
def test_a_person_who_ends_the_task_ends_its_run(cancelled: Cancelled, act: str, name: str, mode: str) -> None:
    waiting: Waiting = cancelled.cells[act, name, mode]
    local = waiting.stage.local
    with waiting.recorded_as(kill_table.by_a_person(act, name)):
        if act == "clear":
            local.clear(waiting.dag_id)
            waiting.until({WAITS[mode]: 1}, [waiting.cancelled_state, waiting.remote_state])
        else:
            local.mark(waiting.dag_id, act)
            waiting.until({act: 1}, [waiting.cancelled_state])
        says_if_it_cannot_cancel(waiting)
    if act == "clear":
        # Its trigger, if there is one, has to have begun.
        before = waiting.looks
        wait_until(lambda: waiting.looks > before, waiting.describe)
        local.mark(waiting.dag_id, "failed")
        waiting.until({"failed": 1}, [waiting.cancelled_state] * 2)


def says_if_it_cannot_cancel(waiting: Waiting) -> None:
    if waiting.cancelled_state != "failed":
        wait_until(lambda: "Could not cancel run" in waiting.log(), waiting.describe)


def holding(method: str, path: str) -> list[Rule]:
    """Let the reply to a request never come, once."""
    return [Rule([("held", faults.hold)], method, path, nth=(1,))]


@pytest.mark.parametrize("mode", BOTH)
def test_a_worker_that_is_killed_right_after_it_triggered(on: Stage, mode: str) -> None:
    (waiting,) = on.start(("queued", mode), rules=holding("POST", TRIGGER))
    wait_until(lambda: bool(waiting.runs), waiting.describe)
    with waiting.recorded_as(kill_table.POSTED):
        waiting.kill_worker()
        finish(waiting, tries=2)
    assert waiting.proxy.requests("POST", TRIGGER, forwarded=True) == 2


@pytest.mark.parametrize(("row", "supervised"), [(kill_table.KILLED, True), (kill_table.LOST, False)])
def test_a_worker_that_is_killed_while_it_waits(on: Stage, row: str, supervised: bool) -> None:
    (waiting,) = on.start(("held", SYNC))
    waiting.until_it_waits()
    with waiting.recorded_as(row):
        waiting.kill_worker(supervised=supervised)
        finish(waiting, tries=2)


def test_a_worker_that_is_suspended_and_comes_back_when_airflow_has_given_it_up(on: Stage) -> None:
    (waiting,) = on.start(("suspended", SYNC))
    waiting.until_it_waits()
    with waiting.recorded_as(kill_table.SUSPENDED):
        with waiting.suspended_worker():
            waiting.until({"up_for_retry": 1}, [waiting.remote_state])
        assert waiting.proxy.requests("PATCH") == 0
        finish(waiting, tries=2)


def test_a_worker_that_is_killed_between_deferral_and_resumption(on: Stage) -> None:
    (waiting,) = on.start(("queued", DEFERRABLE))
    waiting.until_it_waits()
    with waiting.recorded_as(kill_table.COMING_BACK), on.opened():
        # Its run has finished, the triggerer has reported it, and the next request of the worker is not answered.
        wait_until(lambda: waiting.states != {"deferred": 1}, waiting.describe, poll=0.05)
        waiting.proxy.rules = holding("GET", "")
        waiting.until({"running": 1}, ["success"])
        waiting.kill_worker()
        waiting.proxy.rules = []
        waiting.until({"success": 1}, ["success"])
    assert waiting.tries == 2


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("sig", kill_table.SIGNALS)
def test_a_scheduler_that_is_restarted(on: Stage, mode: str, sig: str) -> None:
    (waiting,) = on.start(("queued", mode))
    waiting.until_it_waits()
    with waiting.recorded_as(kill_table.scheduler(sig)):
        on.local.deployment.stop_component("scheduler", signal.Signals[sig])
        on.local.deployment.start_component("scheduler", timeout=120)
        # With it go the workers; what waits in the triggerer does not notice.
        finish(waiting, tries=2 if mode == SYNC else 1)


def finish(waiting: Waiting, tries: int) -> None:
    """Check that a task, in a try or one after it, succeeds with the one run it made, and that it cancelled none."""
    wait_until(lambda: waiting.tries >= tries and waiting.states == {WAITS[waiting.mode]: 1}, waiting.describe)
    assert waiting.remote_states() == [waiting.remote_state]
    with waiting.stage.opened():
        waiting.until({"success": 1}, ["success"])
    assert waiting.proxy.requests("PATCH") == 0


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("name", kill_table.OVERDUE)
def test_a_run_that_takes_too_long_is_cancelled_and_the_task_says_how_long_it_took(
    on: Stage, name: str, mode: str
) -> None:
    (waiting,) = on.start((name, mode))
    waiting.until_it_waits()
    with waiting.recorded_as(kill_table.overdue(name)):
        waiting.until({"failed": 1}, [waiting.cancelled_state])
    took_too_long(waiting)


def test_a_limit_that_passes_while_no_triggerer_runs_holds_all_the_same(on: Stage) -> None:
    (waiting,) = on.start(("impatient", DEFERRABLE))
    waiting.until_it_waits()
    on.local.deployment.stop_component("triggerer")
    with waiting.recorded_as(kill_table.LATE):
        time.sleep(60)
        assert (waiting.states, waiting.remote_states()) == ({"deferred": 1}, [waiting.remote_state])
        on.local.deployment.start_component("triggerer", timeout=120)
        waiting.until({"failed": 1}, [waiting.cancelled_state])
    took_too_long(waiting)


def took_too_long(waiting: Waiting) -> None:
    """Check what the log of a task says that waited too long."""
    log, (run,) = waiting.log(), waiting.runs
    found = f"run {run.run_id}: {waiting.remote_state}"
    lines = f"did not end within 45 s ({found})"
    if waiting.name == "overdue" and waiting.mode == DEFERRABLE and waiting.stage.local.deployment.generation == "v1":
        # Airflow 2 does not let it come back, so the trigger logs it.
        lines = f"The wait has reached its time limit: {found}"
    assert lines in log, log[-6000:]
    assert waiting.proxy.url in log.partition(lines)[2]
    says_if_it_cannot_cancel(waiting)


@pytest.fixture(scope="module")
def fifty(on: Stage) -> Waiting:
    """Fifty tasks that wait in the triggerer, each for its own run."""
    (waiting,) = on.start(("fifty", DEFERRABLE))
    waiting.until({"deferred": 50}, [waiting.remote_state] * 50, timeout=600)
    return waiting


def restart_remote(on: Stage, seconds_down: float = 0) -> None:
    web = Release.parse(on.pair.remote).web
    on.remote.deployment.stop_component(web)
    time.sleep(seconds_down)
    on.remote.deployment.start_component(web, timeout=120)


def change_secret(on: Stage, secret: str = "another secret, ") -> None:
    names = ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__WEBSERVER__SECRET_KEY")
    on.remote.deployment.configure(dict.fromkeys(names, secret * 5))
    restart_remote(on)


def change_password(on: Stage, conn_id: str) -> None:
    on.local.change_password(conn_id, "another")
    on.remote.change_password("admin", "another")
    # What it had given out under the old one is not valid any more either.
    change_secret(on, "a third secret, ")


HARMS: dict[str, Callable[[Stage, str], None]] = {
    "down": lambda on, _: restart_remote(on, 30),
    "secret": lambda on, _: change_secret(on),
    "password": change_password,
}


@pytest.mark.parametrize("sig", kill_table.SIGNALS)
def test_fifty_keep_waiting_when_their_triggerer_is_gone(on: Stage, fifty: Waiting, sig: str) -> None:
    def restart() -> None:
        on.local.deployment.stop_component("triggerer", signal.Signals[sig])
        on.local.deployment.start_component("triggerer", timeout=120)

    keep_waiting(fifty, kill_table.triggerer(sig), restart)


@pytest.mark.parametrize("harm", HARMS)
def test_fifty_keep_waiting_when_their_remote_is_gone_or_refuses_them(on: Stage, fifty: Waiting, harm: str) -> None:
    if harm != "down" and on.remote.version < (2, 0):
        pytest.skip("1.10 is open to everybody")
    keep_waiting(fifty, kill_table.harm(harm), lambda: HARMS[harm](on, fifty.conn_id))


def keep_waiting(fifty: Waiting, row: str, harm: Callable[[], None]) -> None:
    """Check that fifty tasks poll again after something has happened, and that nothing else changes."""
    with fifty.recorded_as(row):
        harm()
        before = fifty.looks
        wait_until(lambda: fifty.looks > before, fifty.describe)
        assert (fifty.states, fifty.remote_states()) == ({"deferred": 50}, [fifty.remote_state] * 50)
        assert fifty.proxy.requests("PATCH") == 0


def test_fifty_end_well(on: Stage, fifty: Waiting) -> None:
    with fifty.recorded_as(kill_table.ALL_END), on.opened():
        fifty.until({"success": 50}, ["success"] * 50, timeout=600)
    assert fifty.proxy.requests("PATCH") == 0


def test_a_person_who_deletes_the_local_run_ends_its_remote_run(on: Stage) -> None:
    if on.remote.version < (2, 2):
        pytest.skip("nothing can be cancelled there")
    # The last one: a scheduler of Airflow 3 may stumble over a running run that is gone.
    both = on.start(*(("held", mode) for mode in BOTH))
    for each in both:
        each.until_it_waits()
    for each in both:
        on.local.delete_run(each.dag_id)

    def cancelled() -> bool:
        # A DAG that runs once may be run again after that. With SQLite, a scheduler that is at work on the run may
        # write success over its failure, as its tasks were skipped.
        return all(
            each.proxy.requests("PATCH") > 0 and {"failed", "success"} & {*each.remote_states()} for each in both
        )

    wait_until(cancelled, both[1].describe, timeout=180)
