"""Remembers, for all of a process, the URLs of deployments that connections name in another way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from astronomer_remote.api.protocol.errors import RemoteError, TransientError
from astronomer_remote.api.protocol.flow import Flow, Sleep
from astronomer_remote.api.protocol.settings import Settings

SECONDS_REMEMBERED = 600.0
"""How long a URL is used before it is looked up again."""

SECONDS_AFTER_REFUSAL = 10.0
"""The same after a login was refused: the deployment may have moved."""

MOST_PLACES = 1000

POLL = 0.1
"""Seconds between two checks whether another flow has found it."""

MOST_POLLS = 3000
"""How many there are at most: a process may have been forked while it was looked up, which then never ends."""


class Place:
    """Where a deployment is. Flows of several threads and event loops may share it."""

    _all: ClassVar[dict[Settings, Place]] = {}

    def __init__(self) -> None:
        self._url: str | None = None
        self._found_at = 0.0
        self._failure: RemoteError | None = None
        self._under_way = False

    @classmethod
    def of(cls, settings: Settings) -> Place:
        """The one of a connection without a host. :param settings: before or after it was located."""
        key = replace(settings, base_url="")
        if key not in cls._all and len(cls._all) >= MOST_PLACES:
            cls._all.clear()
        return cls._all.setdefault(key, cls())

    def find(self, look_up: Callable[[], Flow[str]], now: Callable[[], float], oldest: float) -> Flow[str]:
        """
        The deployment's URL; looked up once for all that need it at the same time.

        If that fails for now, a URL that was found earlier is used.

        :param now: seconds since the epoch.
        :param oldest: how many seconds ago it may have been looked up.
        :raises RemoteError: if it is not found; one failure counts for all that waited for it.
        """
        waited = 0
        while self._under_way and waited < MOST_POLLS:
            waited += 1
            yield Sleep(POLL)
        if self._url and now() - self._found_at < oldest:
            return self._url
        if waited and self._failure:
            # Raising changes it, and it may be raised many times.
            raise copy.copy(self._failure)
        self._under_way, self._failure = True, None
        try:
            self._url, self._found_at = (yield from look_up()), now()
        except RemoteError as error:
            if not (self._url and isinstance(error, TransientError)):
                self._failure = error
                raise
            # For as long again: else each flow would retry for itself, one after the other.
            self._found_at = now()
        finally:
            self._under_way = False
        return self._url

    def move(self, before: str, url: str) -> bool:
        """
        Record where the deployment is now.

        :param before: URL that is in use.
        :return: whether that URL was looked up, and is another one.
        """
        moved = before == self._url != url
        if moved:
            self._url = url
        return moved
