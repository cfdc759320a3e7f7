"""What every task that talks to a remote has."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from astronomer_remote.hooks.astronomer import AstronomerHook

DEFERRED_BY = "deferred_by_try"


class Connected:
    """A task with a connection to a remote deployment."""

    astronomer_conn_id: str
    defer: Callable[..., Any]
    execute: Callable[[Context], Any]

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
        return super().resume_execution(next_method, kwargs, context)  # type: ignore[misc]  # of BaseOperator
