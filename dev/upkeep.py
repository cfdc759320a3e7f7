"""Watches the components of running deployments, and restarts those that have exited."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Sequence

from dev.database import ServerError
from dev.deployments import Airflow

RESTARTS = 3
"""How often a component is restarted within the time below; after that it is not."""
PERIOD = 600.0
HEALTH_SECONDS = 10.0
"""Pause between two health checks of a deployment."""
GRACE_SECONDS = 30.0
"""How long a deployment may be unhealthy before it is reported; a busy machine makes it slow."""
LOG_LINES = 10


class Upkeep:
    """Call :meth:`look` about once a second; it says what it found and did.

    :param deployments: those to watch; they have been started.
    :param say: prints a line.
    """

    def __init__(self, deployments: Sequence[Airflow], say: Callable[[str], None]) -> None:
        self._say = say
        self._deployments = deployments
        self._restarts: dict[tuple[str, str], list[float]] = {}
        self._given_up: set[tuple[str, str]] = set()
        self._health = {each.name: _Health() for each in deployments}

    def look(self) -> bool:
        """Check each deployment. :return: whether none was stopped by another process."""
        for each in self._deployments:
            if not each.alive:
                self._say(f"{each.name}: was stopped by another process")
                return False
            for name, code in each.ended().items():
                self._start_again(each, name, code)
            self._check_health(each)
        return True

    def _start_again(self, deployment: Airflow, name: str, code: int) -> None:
        key, now = (deployment.name, name), time.monotonic()
        if key in self._given_up:
            return
        recent = [then for then in self._restarts.get(key, []) if now - then < PERIOD]
        ended = f"{deployment.name}: the {name} {how_it_ended(code)}"
        if len(recent) >= RESTARTS:
            self._given_up.add(key)
            self._say(f"{ended} again and is not restarted. Last lines of {deployment.log_path(name)}:")
            self._say(deployment.log(name, LOG_LINES))
            return
        self._restarts[key] = [*recent, now]
        self._say(f"{ended}; restarting it")
        deployment.restart_component(name)
        self._health[deployment.name].expect_trouble()

    def _check_health(self, deployment: Airflow) -> None:
        health = self._health[deployment.name]
        if not health.due():
            return
        try:
            problem = deployment.problem()
        except (sqlite3.OperationalError, ServerError) as error:  # such as a database that is locked for long
            problem = str(error)
        line = health.seen(problem)
        if line:
            self._say(f"{deployment.name}: {line}")


class _Health:
    """What was seen of one deployment's health, and what of it is worth a line."""

    def __init__(self) -> None:
        self._next = 0.0
        self._since: float | None = None
        self._reported = False

    def due(self) -> bool:
        """Whether it is time for the next check."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + (1.0 if self._reported else HEALTH_SECONDS)
        return True

    def expect_trouble(self) -> None:
        """Trouble has just been reported: its end is worth a line."""
        self._reported, self._next = True, 0.0

    def seen(self, problem: str | None) -> str | None:
        """Take note of a problem, or of none. :return: what to say of it."""
        if problem is None:
            self._since = None
            if self._reported:
                self._reported = False
                return "is healthy again"
            return None
        self._since = self._since or time.monotonic()
        if self._reported or time.monotonic() - self._since < GRACE_SECONDS:
            return None
        self._reported = True
        return f"not healthy for {GRACE_SECONDS:.0f} s: {problem}"


def how_it_ended(code: int) -> str:
    """Say an exit code in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
