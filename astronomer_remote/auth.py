"""
What a login of your own is made of, see :doc:`/connect/own_login`.

A login is a subclass of :class:`Authentication`, or of :class:`TokenLogin` if it gets a token. An entry point of the
group ``astronomer_remote.auth`` gives it the name that a connection has in ``auth``. This module imports neither
Airflow nor an HTTP library.
"""

from __future__ import annotations

from astronomer_remote.api.protocol.auth import (
    Authentication,
    Credentials,
    Send,
    Token,
    TokenLogin,
    read_token,
    refused_by_gateway,
)
from astronomer_remote.api.protocol.errors import AuthenticationFailed, InvalidSettings, UnexpectedReply
from astronomer_remote.api.protocol.flow import Flow, Request, Response, blocking, request_to

__all__ = [
    "Authentication",
    "AuthenticationFailed",
    "Credentials",
    "Flow",
    "InvalidSettings",
    "Request",
    "Response",
    "Send",
    "Token",
    "TokenLogin",
    "UnexpectedReply",
    "blocking",
    "read_token",
    "refused_by_gateway",
    "request_to",
]
