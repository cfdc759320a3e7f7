"""The text behind a connection's Test button: what answers, what the account may do, and the remote's health."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.dialects.base import Dialect, Operation
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import AccessDenied, Conflict, NotFound, RemoteError, RequestRefused
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import Generation, TriggerIntent

LONGEST = 2000
"""Characters that are shown."""


class ConnectionTest:
    """Reads what a deployment is and what the account may do, and changes nothing."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def report(self) -> Flow[str]:
        """
        A few sentences on the remote.

        :raises RemoteError: if nothing is, or the login does not work.
        """
        dialect = yield from self._client.dialect()
        settings = self._client.settings
        may_read = yield from self.may(dialect.proof())
        rights = yield from self._rights(dialect, may_read=may_read)
        health = yield from self._health(dialect)
        who = f" as {settings.login}" if settings.login else " with the token or key" if settings.password else ""
        label = self._client.redact(dialect.label)
        only = " The connection is read_only." if settings.read_only else ""
        return untrusted.readable(f"{label} at {settings.base_url} answers{who}.{only} {rights} {health}", LONGEST)

    def _rights(self, dialect: Dialect, *, may_read: bool | None) -> Flow[str]:
        if dialect.generation is Generation.EXPERIMENTAL:
            allowed = "reading" if self._client.settings.read_only else "everything it offers"
            return f"Its API knows no accounts: {allowed} is allowed."
        # What certainly does not exist gets a 403 for an account without the permission, and a 404 for others.
        nobody = f"astronomer_remote_test_{uuid4()}"
        operations: dict[str, Callable[[], Operation[Any]]] = {
            "trigger": lambda: dialect.trigger(TriggerIntent(nobody, nobody)),
            "read pools": lambda: dialect.pools(limit=1),
            "write pools": lambda: dialect.delete_pool(nobody),
        }
        found: dict[str, bool | None] = {"read DAGs": may_read}
        for name, operation in operations.items():
            found[name] = yield from self.may(operation())
        openings = {True: "The account may", False: "It may not", None: "It is unknown whether it may"}
        sentences = {each: [name for name, may in found.items() if may is each] for each in openings}
        return " ".join(f"{openings[each]} {', '.join(names)}." for each, names in sentences.items() if names)

    def may(self, operation: Operation[Any]) -> Flow[bool | None]:
        """Whether the account may do something; ``None`` if the reply does not show it."""
        try:
            yield from self._client.request(operation)
        except AccessDenied:
            return False
        except NotFound:
            return True
        except (Conflict, RequestRefused):
            return None
        return True

    def _health(self, dialect: Dialect) -> Flow[str]:
        try:
            health = yield from self._client.request(dialect.health())
        except RemoteError as error:
            return f"Its health could not be read ({error.message})"
        openings = ", ".join(f"{name} is {status}" for name, status in health.components.items() if status)
        return f"Its {self._client.redact(openings)}."
