"""What becomes of a remote run when its local task, or what carries that, is ended; with real deployments."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest

from dev import faults
from dev.faults import Rule
from dev.settings import PASSWORDS_FILE
from tests.live.fault_cases import TRIGGER
from tests.live.stage import WAITS, Stage, Waiting, stage
from tests.live.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

PAIRS = (("3.3.2", "3.3.2"), ("2.11.2", "2.11.2"))
ACTS = ("failed", "success", "clear")
REMOTELY = ("held", "queued")
MODES = ("deferrable", "sync")


class Cancelled:
    """One task for each cell, all of which wait before the first is ended."""

    def __init__(self, on: Stage, wanted: list[tuple[str, str, str]]) -> None:
        started = on.start(*((name, mode) for _, name, mode in wanted))
        self.cells = dict(zip(wanted, started, strict=True))
        for each in started:
            each.until_it_waits()


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"{pair[0]}-to-{pair[1]}")
def on(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage(*request.param) as started:
        yield started


@pytest.fixture(scope="module")
def cancelled(request: pytest.FixtureRequest, on: Stage) -> Cancelled:
    params = [item.callspec.params for item in request.session.items if "act" in getattr(item, "fixturenames", ())]
    version = on.local.deployment.version
    return Cancelled(on, [(p["act"], p["name"], p["mode"]) for p in params if p["on"][0] == version])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", REMOTELY)
@pytest.mark.parametrize("act", ACTS)
def test_a_person_who_ends_the_task_ends_its_run(cancelled: Cancelled, act: str, name: str, mode: str) -> None:
    waiting: Waiting = cancelled.cells[act, name, mode]
    local = waiting.stage.local
    if act == "clear":
        local.clear(waiting.dag_id)
        waiting.until({WAITS[mode]: 1}, ["failed", waiting.remote_state])
        local.mark(waiting.dag_id, "failed")
        waiting.until({"failed": 1}, ["failed", "failed"])
    else:
        local.mark(waiting.dag_id, act)
        waiting.until({act: 1}, ["failed"])


@pytest.fixture
def newest(on: Stage) -> Stage:
    """What follows takes long and is shown on the newest Airflow alone."""
    if on.local.deployment.version != PAIRS[0][0]:
        pytest.skip("shown on the newest Airflow")
    return on


def holding(method: str, path: str) -> list[Rule]:
    """Let the reply to a request never come, once."""
    return [Rule([("held", faults.hold)], method, path, nth=(1,))]


def test_a_worker_that_is_killed_right_after_it_triggered(newest: Stage) -> None:
    (waiting,) = newest.start(("queued", "sync"), rules=holding("POST", TRIGGER))
    wait_until(lambda: bool(waiting.runs), waiting.describe)
    waiting.kill_worker()
    finish(waiting, tries=2)
    assert waiting.proxy.requests("POST", TRIGGER, forwarded=True) == 2


@pytest.mark.parametrize("supervised", [True, False], ids=["killed", "lost"])
def test_a_worker_that_is_killed_while_it_waits(newest: Stage, supervised: bool) -> None:
    (waiting,) = newest.start(("held", "sync"))
    waiting.until_it_waits()
    waiting.kill_worker(supervised=supervised)
    finish(waiting, tries=2)


def test_a_worker_that_is_killed_between_deferral_and_resumption(newest: Stage) -> None:
    (waiting,) = newest.start(("queued", "deferrable"))
    waiting.until_it_waits()
    waiting.proxy.rules = holding("GET", r"/dagRuns/[^/?]+$")
    with newest.opened():
        # Its run has ended, and the reply that would tell it so does not come.
        waiting.until({"running": 1}, ["success"])
        waiting.kill_worker()
        waiting.proxy.rules = []
        waiting.until({"success": 1}, ["success"])
    assert waiting.tries == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL], ids=lambda sig: sig.name)
def test_a_scheduler_that_is_restarted(newest: Stage, mode: str, sig: int) -> None:
    (waiting,) = newest.start(("queued", mode))
    waiting.until_it_waits()
    newest.local.deployment.stop_component("scheduler", sig)
    newest.local.deployment.start_component("scheduler", timeout=120)
    # With it go the workers; what waits in the triggerer does not notice.
    finish(waiting, tries=2 if mode == "sync" else 1)


def finish(waiting: Waiting, tries: int) -> None:
    """Check that a task, in a try, succeeds with the one run that it made, and that it cancelled none."""
    wait_until(lambda: waiting.tries == tries and waiting.states == {WAITS[waiting.mode]: 1}, waiting.describe)
    assert waiting.remote_states() == [waiting.remote_state]
    with waiting.stage.opened():
        waiting.until({"success": 1}, ["success"])
    assert waiting.proxy.requests("PATCH") == 0


@pytest.fixture(scope="module")
def fifty(on: Stage) -> Waiting:
    """Fifty tasks that wait in the triggerer, each for its own run."""
    (waiting,) = on.start(("fifty", "deferrable"))
    waiting.until({"deferred": 50}, ["queued"] * 50, timeout=600)
    return waiting


def restart_triggerer(on: Stage, sig: int) -> None:
    on.local.deployment.stop_component("triggerer", sig)
    on.local.deployment.start_component("triggerer", timeout=120)


def restart_remote(on: Stage, seconds_down: float = 0) -> None:
    on.remote.deployment.stop_component("api-server")
    time.sleep(seconds_down)
    on.remote.deployment.start_component("api-server", timeout=120)


def rotate_secret(on: Stage) -> None:
    on.remote.deployment.configure(
        {"AIRFLOW__API_AUTH__JWT_SECRET": "another-secret-of-more-than-sixty-four-characters-" * 2}
    )
    restart_remote(on)


def change_password(on: Stage, fifty: Waiting) -> None:
    on.local.change_password(fifty.conn_id, "another")
    file = on.remote.deployment.home / PASSWORDS_FILE
    file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), "another")))
    # What it had given out under the old one is not valid any more either.
    on.remote.deployment.configure(
        {"AIRFLOW__API_AUTH__JWT_SECRET": "a-third-secret-of-more-than-sixty-four-characters--" * 2}
    )
    restart_remote(on)


HARMS = {
    "triggerer terminated": lambda on, fifty: restart_triggerer(on, signal.SIGTERM),
    "triggerer killed": lambda on, fifty: restart_triggerer(on, signal.SIGKILL),
    "remote API server 30 s down": lambda on, fifty: restart_remote(on, 30),
    "token secret rotated": lambda on, fifty: rotate_secret(on),
    "password changed": change_password,
}


@pytest.mark.parametrize("harm", HARMS)
def test_fifty_wait_on(newest: Stage, fifty: Waiting, harm: str) -> None:
    HARMS[harm](newest, fifty)
    before = len(fifty.proxy.passed)

    def is_asked_again() -> bool:
        return any(each.target.endswith("/list") and each.status == 200 for each in fifty.proxy.passed[before:])

    wait_until(is_asked_again, fifty.describe)
    assert (fifty.states, fifty.remote_states()) == ({"deferred": 50}, ["queued"] * 50)
    assert fifty.proxy.requests("PATCH") == 0


def test_fifty_end_well(newest: Stage, fifty: Waiting) -> None:
    with newest.opened():
        fifty.until({"success": 50}, ["success"] * 50, timeout=600)
    assert fifty.proxy.requests("POST", TRIGGER) == 50
    assert fifty.proxy.requests("PATCH") == 0
