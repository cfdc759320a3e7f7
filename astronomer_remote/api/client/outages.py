"""
Why a Deployment of Astro does not answer, according to the Astro API, and how it is woken if it hibernates.

What is known is shared by all flows of a process: whatever their number, the Astro API gets two requests a minute about
a Deployment, and one to wake it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import ClassVar

from astronomer_remote.api.logins.astro import HEALTHY, AstroDeployment, ControlPlane, control_plane
from astronomer_remote.api.protocol.auth import Send
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    InvalidSettings,
    NotFound,
    RemoteError,
    TransientError,
)
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.settings import Settings

log = logging.getLogger(__name__)

OUTAGES = frozenset({None, 502, 503, 504})
"""HTTP statuses after which the Astro API is read; ``None`` stands for no reply."""

SECONDS_BETWEEN_CHECKS = 30.0
"""How often the Astro API is read at most."""

SECONDS_AFTER_REFUSAL = 300.0
"""The same after it refused the request."""

SECONDS_TO_WAKE = 600.0
"""How long a Deployment may take to wake up; Astro speaks of about a minute."""

SECONDS_AWAKE = 4 * 3600.0
"""How long it is kept awake, whatever its schedule says. It is woken again if that is not enough."""

SECONDS_BETWEEN_ATTEMPTS = 10.0
"""Seconds between two requests to a Deployment that wakes up."""

MOST_DEPLOYMENTS = 1000


class Outage:
    """What a process knows of one Deployment. Flows of several threads and event loops may share it."""

    _all: ClassVar[dict[ControlPlane, Outage]] = {}

    def __init__(self, api: ControlPlane) -> None:
        self._api = api
        self._deployment: AstroDeployment | None = None
        self._problem = ""
        self._next_check = 0.0
        self._claim = threading.Lock()
        self._woken_at: float | None = None
        self._wake_problem: tuple[float, str] | None = None
        self._logged = False

    @classmethod
    def of(cls, settings: Settings) -> Outage | None:
        """The one of the Deployment of a connection; ``None`` if the connection does not name it."""
        if not settings.login_fields.get("astro_deployment"):
            return None
        api = control_plane(settings.credentials)
        if api not in cls._all and len(cls._all) >= MOST_DEPLOYMENTS:
            cls._all.clear()
        return cls._all.setdefault(api, cls(api)) if api else None

    @property
    def url(self) -> str | None:
        """Where the Deployment is now, if that is known."""
        deployment = self._deployment
        try:
            return deployment.base_url if deployment else None
        except InvalidSettings:
            return None

    @property
    def hibernates(self) -> bool:
        """Whether the Deployment hibernated when the Astro API was last read, during this outage."""
        deployment = self._deployment
        return deployment is not None and deployment.hibernates

    def explain(self, failure: TransientError, now: Callable[[], float], send: Send, *, wake: bool) -> Flow[None]:
        """
        Add to a failure what the Astro API shows. If it does not answer, the failure stays as it is.

        :param now: seconds since the epoch.
        :param send: sends a request once.
        :param wake: whether the Deployment is woken if it hibernates.
        """
        yield from self._check(now(), send)
        deployment = self._deployment
        if deployment and wake and deployment.status != HEALTHY:
            yield from self._wake(deployment, now(), send)
        failure.waking = wake and self._is_waking(now())
        sentence = self._sentence(now(), wake=wake)
        if sentence:
            failure.message = f"{sentence} {failure.message}"
        if failure.waking and not self._logged:
            self._logged = True
            log.info("%s", sentence)

    def status(self, send: Send) -> Flow[str]:
        """A sentence on the Deployment, for a person. :param send: sends a request once."""
        try:
            deployment = yield from self._api.deployment(send)
        except RemoteError as error:
            return f"The Astro API does not show the Deployment: {error.message} "
        return f"{deployment.description} in Astro (Airflow {deployment.airflow}). "

    def answered(self) -> None:
        """Record that the Deployment has answered."""
        if self._woken_at is not None:
            # It may hibernate again, which the next check shows.
            self._woken_at, self._deployment, self._logged = None, None, False

    def _check(self, now: float, send: Send) -> Flow[None]:
        if now < self._next_check:
            return
        if now >= self._next_check + SECONDS_BETWEEN_CHECKS:
            # What was known is about an earlier outage.
            self._deployment, self._problem = None, ""
        # Until this one is done, other flows use what is known.
        self._next_check = now + SECONDS_BETWEEN_CHECKS
        try:
            self._deployment, self._problem = (yield from self._api.deployment(send)), ""
        except NotFound as error:
            self._deployment, self._problem = None, error.message
        except (AuthenticationFailed, AccessDenied) as error:
            self._deployment, self._problem = None, f"Why is not known: {error}"
            self._next_check = now + SECONDS_AFTER_REFUSAL
        except RemoteError as error:
            log.debug("The Astro API does not show what is wrong: %s", error)
            self._deployment, self._problem = None, ""
            self._next_check = now + _pause_after(error)

    def _wake(self, deployment: AstroDeployment, now: float, send: Send) -> Flow[None]:
        """Wake the Deployment, unless that was done by this process or another one."""
        with self._claim:
            woken_at, problem = self._woken_at, self._wake_problem
            lately = woken_at is not None and now - woken_at < 2 * SECONDS_TO_WAKE
            # A request whose reply was lost may have woken it all the same.
            refused = problem is not None and now < problem[0] and not deployment.kept_awake
            if lately or refused or not (deployment.hibernates or deployment.kept_awake):
                return
            self._woken_at, self._wake_problem, self._logged = now, None, False
        if deployment.kept_awake:
            return
        woken = False
        try:
            yield from self._api.wake(deployment, now + SECONDS_AWAKE, send)
            woken = True
        except RemoteError as error:
            self._wake_problem = now + _pause_after(error), f"It could not be woken: {error}"
        finally:
            if not woken:
                self._woken_at = None

    def _is_waking(self, now: float) -> bool:
        # Another thread may change it meanwhile.
        woken_at = self._woken_at
        return woken_at is not None and now - woken_at < SECONDS_TO_WAKE

    def _sentence(self, now: float, *, wake: bool) -> str:
        deployment, problem = self._deployment, self._wake_problem
        if deployment is None:
            return self._problem
        text = f"{deployment.description}, according to the Astro API."
        if not wake:
            off = " With wake in the connection, it is woken when it is needed." if deployment.hibernates else ""
            return f"{text}{off}"
        if self._is_waking(now):
            return f"{text} It was woken; that may take {SECONDS_TO_WAKE / 60:.0f} minutes and counts as no failure."
        if problem:
            return f"{text} {problem[1]}"
        late = self._woken_at is not None and deployment.status != HEALTHY
        return f"{text} It did not wake up within {SECONDS_TO_WAKE / 60:.0f} minutes." if late else text


def _pause_after(error: RemoteError) -> float:
    """Seconds until the Astro API gets another request after one that failed."""
    return SECONDS_BETWEEN_CHECKS if isinstance(error, TransientError) else SECONDS_AFTER_REFUSAL
