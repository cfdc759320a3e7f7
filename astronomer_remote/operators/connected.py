"""What every task that talks to a remote has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.arguments import Readers, is_plain, required
from astronomer_remote.exceptions import airflow_exceptions

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from astronomer_remote.hooks.astronomer import AstronomerHook

DEFERRED_BY = "deferred_by_try"


def began(context: Context) -> float:
    """When this try of the local task began, in seconds since the epoch; a deferral does not change it."""
    return float((context["ti"].start_date or datetime.now(timezone.utc)).timestamp())


class Connected:
    """A task with a connection to a remote deployment."""

    readers: ClassVar[Readers] = {"astronomer_conn_id": required}
    """How each templated field is read once it is rendered."""

    astronomer_conn_id: str
    defer: Callable[..., Any]
    execute: Callable[[Context], Any]

    def check_values(self) -> None:
        """
        Check the templated fields as far as they are known while the DAG is parsed.

        :raises InvalidSettings: for one that cannot be used.
        """
        with airflow_exceptions():
            for name, read in self.readers.items():
                try:
                    # A constructor of a base class runs before the subclass has set fields of its own.
                    if hasattr(self, name) and is_plain(getattr(self, name)):
                        read(getattr(self, name), name)
                except RecursionError:
                    raise InvalidSettings(f"{name} is nested too deeply.") from None

    def read_values(self) -> None:
        """
        Make of whatever the templated fields were rendered to what the rest of the task expects.

        :raises InvalidSettings: for a value that cannot be used.
        """
        with airflow_exceptions():
            for name, read in self.readers.items():
                setattr(self, name, read(getattr(self, name), name))

    @cached_property
    def hook(self) -> AstronomerHook:
        """The hook of the connection, made when it is first wanted."""
        return self.new_hook()

    def new_hook(self, conn_id: str | None = None) -> AstronomerHook:
        """A hook of its own, for when the other one is in the middle of a request, or for another deployment."""
        # It brings HTTP libraries along, which parsing a DAG file must not pay for.
        from astronomer_remote.hooks.astronomer import AstronomerHook

        return AstronomerHook(conn_id or self.astronomer_conn_id)

    def wait_in_triggerer(self, trigger: BaseTrigger, context: Context, method_name: str, **kwargs: Any) -> None:
        """Give up the worker. :param method_name: of the method that gets the event, and `kwargs`."""
        self.defer(trigger=trigger, method_name=method_name, kwargs={**kwargs, DEFERRED_BY: context["ti"].try_number})

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Come back from the triggerer, but only with the try that went there.

        Airflow 3.0 does not forget where a task is to be resumed when that try fails: the next one would begin with
        the event that ended the one before.
        """
        kwargs = dict(next_kwargs or {})
        if kwargs.pop(DEFERRED_BY, None) not in (None, context["ti"].try_number):
            return self.execute(context)
        self.read_values()
        return super().resume_execution(next_method, kwargs, context)  # type: ignore[misc]  # of BaseOperator
