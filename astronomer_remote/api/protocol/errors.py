"""
What can go wrong when talking to a remote, one class per cause.

::

    RemoteError
    ├── PermanentError              a retry changes nothing
    │   ├── InvalidSettings         the connection or an argument is wrong
    │   ├── NotSupported            this generation of Airflow cannot do it
    │   ├── AuthenticationFailed    the credentials were refused
    │   ├── AccessDenied            the account lacks the permission
    │   ├── NotFound                there is no such thing
    │   │   ├── DagNotFound
    │   │   └── DagRunNotFound
    │   │       └── DagRunVanished
    │   ├── Conflict                it exists already, or its state forbids it
    │   │   └── DagRunAlreadyExists
    │   ├── DagIsPaused             the DAG would not start
    │   └── RequestRefused          the remote refused the request (400, 405, 422, …)
    └── TransientError              a retry may help
        ├── Unreachable             no connection, or no reply
        ├── RemoteUnavailable       408, 425, 429, 5xx
        ├── PoolIsOccupied          tasks hold its slots, until they end
        ├── ListingChanged          a listing of several pages changed each time it was read
        └── UnexpectedReply         not what an Airflow answers: a proxy's page, a cut body
            └── ReplyTooLarge       longer than this package reads

Each error has what is known of the request and the reply; its text says what happened and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from astronomer_remote.api.protocol import untrusted

E = TypeVar("E", bound="RemoteError")

LONGEST_MESSAGE = 4000
"""Characters of an error's text."""

LONGEST_DETAIL = 1000
"""Characters of the server's words that an error repeats."""


class RemoteError(Exception):
    """
    Root of everything this package raises about a remote.

    What a remote sent may be part of a text: neither message nor detail can act on a terminal or forge a log line.

    :param message: what happened and what to do, in one line of up to 4000 characters.
    :param status: HTTP status of the reply, if there was one.
    :param method: HTTP verb of the request.
    :param path: path of the request below the deployment's URL.
    :param detail: the server's own words, in one line of up to 1000 characters.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        method: str | None = None,
        path: str | None = None,
        detail: str | None = None,
    ) -> None:
        self.message = self._readable(message)
        super().__init__(self.message)
        self.status = status
        self.method = method
        self.path = path
        self.detail = None if detail is None else untrusted.sentence(detail, LONGEST_DETAIL)

    def restated(self, kind: type[E], message: str) -> E:
        """What is known of the same request and reply, as another error."""
        return kind(message, status=self.status, method=self.method, path=self.path, detail=self.detail)

    def redact(self, hide: Callable[[str], str]) -> None:
        """Hide secrets in its texts. :param hide: returns a text without them."""
        self.message = hide(self.message)
        self.args = (self.message,)
        self.detail = None if self.detail is None else hide(self.detail)

    @staticmethod
    def _readable(message: str) -> str:
        return untrusted.readable(message, LONGEST_MESSAGE)

    def __str__(self) -> str:
        operation = f"{self.method} {self.path}" if self.method else ""
        answer = f" → {self.status}" if self.status else ""
        said = f" The remote said: {self.detail}" if self.detail and self.detail not in self.message else ""
        return f"{self.message}{said} [{operation}{answer}]" if operation else f"{self.message}{said}"


class PermanentError(RemoteError):
    """A retry changes nothing until the cause is fixed."""


class InvalidSettings(PermanentError, ValueError):
    """The connection or an argument is wrong; found before the first request."""


class NotSupported(PermanentError):
    """The remote's generation or version of Airflow cannot do this."""


class AuthenticationFailed(PermanentError):
    """
    The remote did not accept the credentials.

    :param at_login: whether that was found while logging in, rather than in the reply to a request.
    """

    at_login = False


class AccessDenied(PermanentError):
    """The account is known to the remote but lacks a permission."""


class NotFound(PermanentError):
    """The remote knows no such thing."""


class DagNotFound(NotFound):
    """The remote knows no such DAG, or does not show it to this account."""


class DagRunNotFound(NotFound):
    """The remote knows no such DAG run."""


class DagRunVanished(DagRunNotFound):
    """A DAG run that existed no longer does: it was deleted."""


class Conflict(PermanentError):
    """It exists already, or its state forbids the change (409)."""


class DagRunAlreadyExists(Conflict):
    """A DAG run with this run id or logical date exists already."""


class DagIsPaused(PermanentError):
    """The DAG is paused, so that its runs would not start."""


class RequestRefused(PermanentError):
    """The remote understood the request and refused it."""


class TransientError(RemoteError):
    """
    A retry may help.

    :param waking: whether the deployment is about to answer, since it was woken: it does not count as a failure.
    :param out_of_time: whether the request was not sent, since the time of its caller is over.
    """

    waking = False
    out_of_time = False


class Unreachable(TransientError):
    """No connection, or no whole reply."""


class RemoteUnavailable(TransientError):
    """
    The remote or something before it is overloaded or broken for now.

    :param retry_after: seconds that the remote requested to wait.
    """

    retry_after: float | None = None


class PoolIsOccupied(TransientError):
    """Tasks hold slots of a pool that was to be deleted."""


class ListingChanged(TransientError):
    """A listing of several pages changed each time it was read, so that some of it may be missing."""


class DeploymentChanged(TransientError):
    """The connection points to another deployment than the one that the request was made for; it was not sent."""


class UnexpectedReply(TransientError):
    """The reply is not what an Airflow answers."""


class ReplyTooLarge(UnexpectedReply):
    """The reply is longer than this package reads."""


def written_by_another_version(error: Exception) -> UnexpectedReply:
    """The error for a wait whose description in the database cannot be read; a retry of the task writes a new one."""
    return UnexpectedReply(
        "This wait was begun by another version of this package, whose description of it this one cannot read "
        f"({error}). Let the task run again."
    )
