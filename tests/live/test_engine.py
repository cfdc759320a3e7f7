"""A local deployment with Celery, PostgreSQL and Redis, parts of which are ended: one remote run for each task."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dev import broker, clocks, database
from dev.upkeep import Upkeep
from tests.live.engine_table import (
    CLOCK,
    ENGINE_TABLE,
    PAIRS,
    POSTGRES,
    REDELIVERED,
    REDELIVERED_LATE,
    REDELIVERED_LATE_PLAIN,
    REDELIVERED_PLAIN,
    REDIS,
    REDIS_PLAIN,
    SCHEDULER,
    SCHEDULER_WAITS,
    TRIGGERER,
    WORKER,
    WORKER_WAITS,
)
from tests.live.plan import DEFERRABLE, SYNC
from tests.live.stage import WAITS, Stage, Waiting, stage
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

# A task that stays queued since its message was lost is queued again after this time; the default is ten minutes.
# In Airflow 3 the token in a message is valid for as long.
QUEUED_SECONDS = 30
QUEUED_TIMEOUT = "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT"
SETTINGS = {
    # Of each worker: a message that is delivered again must not wait for the task that it is about.
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "8",
    # More than the workers take, so that messages wait in Redis.
    "AIRFLOW__CORE__PARALLELISM": "40",
    QUEUED_TIMEOUT: str(QUEUED_SECONDS),
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
}
VISIBILITY_TIMEOUT = "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"
# The settings of `LOCAL` for a scheduler that is gone, its ten seconds and its check every five, and as much again.
SECONDS_UNTIL_ADOPTED = 30


class Engine:
    """The stage, with what restarts components that end by themselves, as the platforms do on which Airflow runs."""

    def __init__(self, on: Stage) -> None:
        self.stage = on
        self.deployment = on.local.deployment
        self.said: list[str] = []
        self._upkeep = Upkeep([self.deployment], self._say)

    def _say(self, line: str) -> None:
        self.said.append(line)
        print(line)

    def until(self, condition: Callable[[], bool], waiting: Waiting, timeout: float = 300) -> None:
        """Wait, and restart what has ended."""

        def met() -> bool:
            self._upkeep.look()
            return condition()

        wait_until(met, lambda: f"{self.said}\n{waiting.describe()}", timeout=timeout, poll=1)

    def all_wait(self, waiting: Waiting, number: int, timeout: float = 300) -> None:
        """Wait until every task waits for a run of its own."""
        states, runs = {WAITS[waiting.mode]: number}, [waiting.remote_state] * number
        self.until(lambda: waiting.states == states and waiting.remote_states() == runs, waiting, timeout)

    def all_end(self, number: int, *those: Waiting, timeout: float = 400) -> None:
        """Let the remote runs end, and wait until every task has succeeded, with one run for each."""
        with self.stage.opened():
            for waiting in those:
                self.until(lambda each=waiting: each.states == {"success": number}, waiting, timeout)
        for waiting in those:
            if not waiting.name.startswith("plain"):
                assert waiting.remote_states() == ["success"] * number, waiting.describe()
            assert waiting.proxy.requests("PATCH") == 0

    def kill(self, name: str) -> None:
        """Kill a component with all that belongs to it."""
        self.deployment.stop_component(name, signal.SIGKILL)

    def received(self, *workers: str) -> Counter[str]:
        """How often these workers, or all, have received each message of Celery."""
        logs = "".join(self.deployment.log(name, 100_000) for name in workers or ("worker", "worker-2"))
        return Counter(re.findall(r"Task [\w.]+\[([\w-]+)\] received", logs))

    def received_again(self) -> set[str]:
        """Which messages of Celery they have received twice or more."""
        return {each for each, number in self.received().items() if number > 1}


@pytest.fixture(scope="module", params=PAIRS, ids=str)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    # Raise what skips the test where there is no server.
    database.programs()
    broker.program()
    with stage(request.param, engine="celery", env=SETTINGS) as on:
        yield Engine(on)


def until_some_have_begun(engine: Engine, waiting: Waiting) -> None:
    """Wait until some of twenty tasks have made their runs, and others have not yet."""
    engine.until(lambda: len(waiting.runs) >= 3, waiting)
    assert len(waiting.runs) < 20


@pytest.mark.timeout(2500)
def test_two_hundred_keep_waiting_when_one_of_two_triggerers_is_killed(engine: Engine) -> None:
    (waiting,) = engine.stage.start(("two_hundred", DEFERRABLE))
    with waiting.recorded_as(TRIGGERER, ENGINE_TABLE):
        engine.all_wait(waiting, 200, timeout=1000)
        shares = shared(engine)
        print(f"{engine.deployment.version}: triggers of each triggerer: {shares}")
        assert len(shares) == 2
        assert min(shares.values()) >= 10
        engine.kill("triggerer")
        engine.until(lambda: len(shared(engine)) == 1, waiting)
        before = waiting.looks
        engine.until(lambda: waiting.looks > before + 3, waiting)
        assert waiting.states == {"deferred": 200}
        assert waiting.remote_states() == [waiting.remote_state] * 200
        engine.deployment.start_component("triggerer")
        engine.all_end(200, waiting, timeout=1000)
    assert waiting.tries == 1


def shared(engine: Engine) -> dict[int, int]:
    """How many triggers each triggerer has."""
    sql = "SELECT triggerer_id, count(*) FROM trigger WHERE triggerer_id IS NOT NULL GROUP BY triggerer_id"
    return dict(engine.stage.local.query(sql))


@pytest.mark.parametrize(("row", "component", "tries"), [(WORKER, "worker", 2), (SCHEDULER, "scheduler", 1)])
def test_twenty_trigger_one_run_each_when_one_of_two_is_killed(
    engine: Engine, row: str, component: str, tries: int
) -> None:
    (waiting,) = engine.stage.start(("twenty", DEFERRABLE))
    with waiting.recorded_as(row, ENGINE_TABLE):
        until_some_have_begun(engine, waiting)
        engine.kill(component)
        engine.deployment.start_component(component)
        engine.all_wait(waiting, 20)
        engine.all_end(20, waiting)
    assert waiting.tries == tries


@pytest.mark.parametrize(
    ("row", "component", "tries"), [(WORKER_WAITS, "worker", 2), (SCHEDULER_WAITS, "scheduler", 1)]
)
def test_eight_keep_waiting_when_one_of_two_is_killed(engine: Engine, row: str, component: str, tries: int) -> None:
    (waiting,) = engine.stage.start(("eight", SYNC))
    with waiting.recorded_as(row, ENGINE_TABLE):
        engine.all_wait(waiting, 8)
        engine.kill(component)
        engine.deployment.start_component(component)
        if component == "scheduler":
            time.sleep(SECONDS_UNTIL_ADOPTED)
        engine.until(lambda: waiting.tries == tries, waiting)
        engine.all_wait(waiting, 8)
        engine.all_end(8, waiting)
    # Unlike with the LocalExecutor, the end of a scheduler is none of its tasks.
    assert waiting.tries == tries


@pytest.mark.parametrize(
    ("row", "plain_row", "token_seconds"),
    [(REDELIVERED, REDELIVERED_PLAIN, 600), (REDELIVERED_LATE, REDELIVERED_LATE_PLAIN, QUEUED_SECONDS)],
    ids=["valid_token", "expired_token"],
)
def test_messages_that_celery_delivers_again_make_no_second_run(
    engine: Engine, row: str, plain_row: str, token_seconds: int
) -> None:
    with restarted(engine, {VISIBILITY_TIMEOUT: "15", QUEUED_TIMEOUT: str(token_seconds)}):
        before = set(engine.received())
        waiting, plain = engine.stage.start(("four", SYNC), ("plain_long", SYNC))
        with waiting.recorded_as(row, ENGINE_TABLE), plain.recorded_as(plain_row, ENGINE_TABLE):
            engine.all_wait(waiting, 4)
            engine.until(lambda: len(engine.received_again() - before) >= 8, waiting)
            # Until the scheduler has processed what came of the copies.
            time.sleep(20)
            engine.all_wait(waiting, 4)
            engine.all_end(4, waiting, plain)
        # In Airflow 3 a copy whose token has expired ends the try, of any operator.
        tries = 2 if token_seconds == QUEUED_SECONDS and engine.deployment.generation == "v2" else 1
        assert (waiting.tries, plain.tries) == (tries, tries)


@contextmanager
def restarted(engine: Engine, settings: dict[str, str]) -> Iterator[None]:
    """Restart workers and schedulers with other settings, and with the usual ones in the end."""
    try:
        restart(engine, settings)
        yield
    finally:
        restart(engine, {VISIBILITY_TIMEOUT: "86400", QUEUED_TIMEOUT: str(QUEUED_SECONDS)})


def restart(engine: Engine, settings: dict[str, str]) -> None:
    engine.deployment.configure(settings)
    names = ("worker", "worker-2", "scheduler", "scheduler-2")
    for name in names:
        engine.deployment.stop_component(name)
    engine.deployment.start_component(*names, timeout=180)


def test_twenty_trigger_one_run_each_when_redis_loses_its_messages(engine: Engine) -> None:
    waiting, plain = engine.stage.start(("twenty", DEFERRABLE), ("plain", SYNC))
    with waiting.recorded_as(REDIS, ENGINE_TABLE), plain.recorded_as(REDIS_PLAIN, ENGINE_TABLE):
        until_some_have_begun(engine, waiting)
        lost = engine.deployment.broker.messages()
        engine.deployment.broker.restart()
        print(f"{engine.deployment.version}: {lost} messages lost")
        assert lost > 0
        engine.all_wait(waiting, 20)
        engine.all_end(20, waiting, plain)


def test_twenty_trigger_one_run_each_when_postgresql_is_restarted(engine: Engine) -> None:
    (waiting,) = engine.stage.start(("twenty", DEFERRABLE))
    with waiting.recorded_as(POSTGRES, ENGINE_TABLE):
        until_some_have_begun(engine, waiting)
        engine.deployment.server.restart()
        engine.all_wait(waiting, 20)
        engine.all_end(20, waiting)


@pytest.mark.parametrize(("name", "mode", "number"), [("eight", SYNC, 8), ("twenty", DEFERRABLE, 20)])
def test_the_clock_of_one_worker_may_be_a_minute_ahead(engine: Engine, name: str, mode: str, number: int) -> None:
    deployment, wrong = engine.deployment, clocks.ahead(60)
    before = engine.received("worker-2").total()
    deployment.stop_component("worker-2")
    try:
        deployment.configure(wrong)
        deployment.start_component("worker-2")
        deployment.configure(dict.fromkeys(wrong, ""))
        (waiting,) = engine.stage.start((name, mode))
        with waiting.recorded_as(CLOCK, ENGINE_TABLE):
            engine.all_wait(waiting, number)
            engine.all_end(number, waiting)
        assert waiting.tries == 1
        assert engine.received("worker-2").total() > before
    finally:
        deployment.configure(dict.fromkeys(wrong, ""))
        if "worker-2" in deployment.processes:
            deployment.stop_component("worker-2")
        deployment.start_component("worker-2")
