"""What every task that talks to a remote has."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astronomer_remote.hooks.astronomer import AstronomerHook


class Connected:
    """A task with a connection to a remote deployment."""

    astronomer_conn_id: str

    @cached_property
    def hook(self) -> AstronomerHook:
        """The hook of the connection, made when it is first wanted."""
        return self.new_hook()

    def new_hook(self, conn_id: str | None = None) -> AstronomerHook:
        """A hook of its own, for when the other one is in the middle of a request, or for another deployment."""
        # It brings HTTP libraries along, which parsing a DAG file must not pay for.
        from astronomer_remote.hooks.astronomer import AstronomerHook

        return AstronomerHook(conn_id or self.astronomer_conn_id)
