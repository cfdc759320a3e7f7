"""Which failures of a listing say nothing about other requests, so that what it would tell can be read singly."""

from __future__ import annotations

from astronomer_remote.api.protocol.auth import LOGIN_PATH
from astronomer_remote.api.protocol.errors import (
    AuthenticationFailed,
    InvalidSettings,
    PermanentError,
    RemoteError,
    UnexpectedReply,
)


def refuses(error: RemoteError) -> bool:
    """
    Whether the remote refuses a listing for good, which says nothing about other requests.

    A login that is refused, and a connection that cannot be read, concern every request.
    """
    if isinstance(error, AuthenticationFailed):
        return error.path != LOGIN_PATH
    return isinstance(error, PermanentError) and not isinstance(error, InvalidSettings)


def may_refuse(error: RemoteError) -> bool:
    """Whether a gateway may let this request through never, rather than none for now."""
    if error.status == 501:
        return True
    return isinstance(error, UnexpectedReply) and 300 <= (error.status or 0) < 500
