"""
What a DAG author catches.

::

    AirflowException
    └── RemoteError
        ├── PermanentError              also an AirflowFailException: Airflow does not retry the task
        │   ├── InvalidSettings         the connection or an argument is wrong
        │   ├── NotSupported            this version of Airflow does not support it
        │   ├── AuthenticationFailed    the credentials were refused
        │   ├── AccessDenied            the account lacks the permission
        │   ├── NotFound                it does not exist, or the account may not see it
        │   │   ├── DagNotFound
        │   │   └── DagRunNotFound
        │   │       └── DagRunVanished  the run existed and was deleted
        │   ├── Conflict                it exists already, or its state forbids the change (409)
        │   │   └── DagRunAlreadyExists
        │   ├── DagIsPaused             with ``fail_when_dag_is_paused``
        │   └── RequestRefused          the remote understood the request and rejected it (400, 405, 422, …)
        ├── TransientError              a retry may succeed: Airflow's retries of the task apply
        │   ├── Unreachable             no connection, or no complete reply
        │   ├── RemoteUnavailable       408, 425, 429, 5xx
        │   ├── PoolIsOccupied          tasks occupy slots of a pool that is to be deleted
        │   ├── ListingChanged          a listing changed each time it was read
        │   ├── DeploymentChanged       the connection points to another deployment since the task began
        │   └── UnexpectedReply         not a reply of Airflow: an HTML page, a redirect, a cut body
        │       └── ReplyTooLarge       larger than this package reads
        ├── DagRunFailed                the remote run failed; Airflow's retries apply
        └── WaitTimeout                 the wait took too long; Airflow's retries apply

Each error has ``message`` (what happened and what to do), ``status`` (HTTP status of the reply), ``method`` and
``path`` of the request, and ``detail`` (the remote's own message). All but ``message`` may be ``None``.

The code in :mod:`astronomer_remote.api` knows no Airflow and raises the classes of the same names in
:mod:`astronomer_remote.api.protocol.errors`; hook and operators turn them into these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from astronomer_remote.api.protocol import errors, untrusted

__all__ = [
    "AccessDenied",
    "AuthenticationFailed",
    "Conflict",
    "DagIsPaused",
    "DagNotFound",
    "DagRunAlreadyExists",
    "DagRunFailed",
    "DagRunNotFound",
    "DagRunVanished",
    "DeploymentChanged",
    "InvalidSettings",
    "ListingChanged",
    "NotFound",
    "NotSupported",
    "PermanentError",
    "PoolIsOccupied",
    "RemoteError",
    "RemoteUnavailable",
    "ReplyTooLarge",
    "RequestRefused",
    "TransientError",
    "UnexpectedReply",
    "Unreachable",
    "WaitTimeout",
]


class RemoteError(errors.RemoteError, AirflowException): ...


class PermanentError(errors.PermanentError, RemoteError, AirflowFailException): ...


class InvalidSettings(errors.InvalidSettings, PermanentError): ...


class NotSupported(errors.NotSupported, PermanentError): ...


class AuthenticationFailed(errors.AuthenticationFailed, PermanentError): ...


class AccessDenied(errors.AccessDenied, PermanentError): ...


class NotFound(errors.NotFound, PermanentError): ...


class DagNotFound(errors.DagNotFound, NotFound): ...


class DagRunNotFound(errors.DagRunNotFound, NotFound): ...


class DagRunVanished(errors.DagRunVanished, DagRunNotFound): ...


class Conflict(errors.Conflict, PermanentError): ...


class DagRunAlreadyExists(errors.DagRunAlreadyExists, Conflict): ...


class DagIsPaused(errors.DagIsPaused, PermanentError): ...


class RequestRefused(errors.RequestRefused, PermanentError): ...


class TransientError(errors.TransientError, RemoteError): ...


class Unreachable(errors.Unreachable, TransientError): ...


class RemoteUnavailable(errors.RemoteUnavailable, TransientError): ...


class PoolIsOccupied(errors.PoolIsOccupied, TransientError): ...


class ListingChanged(errors.ListingChanged, TransientError): ...


class DeploymentChanged(errors.DeploymentChanged, TransientError): ...


class UnexpectedReply(errors.UnexpectedReply, TransientError): ...


class ReplyTooLarge(errors.ReplyTooLarge, UnexpectedReply): ...


class DagRunFailed(RemoteError):
    """
    A remote run, or a part of it that was waited for, ended in a state that counts as failed.

    With a failure report its text has several lines: the tasks that failed, and the ends of their logs, indented.
    """

    @staticmethod
    def _readable(message: str) -> str:
        return "\n".join(untrusted.readable(line) for line in message.split("\n"))


class WaitTimeout(RemoteError):
    """The remote run did not end in time."""


BY_NAME: dict[str, type[RemoteError]] = {
    each.__name__: each
    for each in (
        InvalidSettings,
        NotSupported,
        AuthenticationFailed,
        AccessDenied,
        NotFound,
        DagNotFound,
        DagRunNotFound,
        DagRunVanished,
        Conflict,
        DagRunAlreadyExists,
        DagIsPaused,
        RequestRefused,
        Unreachable,
        RemoteUnavailable,
        PoolIsOccupied,
        ListingChanged,
        DeploymentChanged,
        UnexpectedReply,
        ReplyTooLarge,
    )
}


def for_airflow(error: errors.RemoteError) -> RemoteError:
    """The exception of this module with the name of an error of ``api``."""
    if isinstance(error, RemoteError):
        return error
    twin = BY_NAME[type(error).__name__](error.message)
    vars(twin).update(vars(error))
    return twin


@contextmanager
def airflow_exceptions() -> Iterator[None]:
    """Convert the errors of ``api`` to the exceptions of this module."""
    try:
        yield
    except errors.RemoteError as error:
        raise for_airflow(error).with_traceback(error.__traceback__) from error.__cause__
