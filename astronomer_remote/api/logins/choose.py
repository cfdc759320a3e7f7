"""Which login a connection gets."""

from __future__ import annotations

from astronomer_remote.api.logins.airflow_login import AirflowLogin
from astronomer_remote.api.logins.basic import Basic
from astronomer_remote.api.logins.token import AnyToken
from astronomer_remote.api.protocol.auth import AUTO, Authentication, find
from astronomer_remote.api.protocol.models import Generation
from astronomer_remote.api.protocol.settings import Settings


def before_detection(settings: Settings) -> Authentication | None:
    """The login that needs no knowledge of the remote; ``None`` without one."""
    kind = _kind(settings, None)
    return kind(settings.credentials) if kind and kind is not Authentication and kind.before_detection else None


def choose(settings: Settings, generation: Generation) -> Authentication:
    """The login that the connection names, or that fits its fields and the remote."""
    return (_kind(settings, generation) or Authentication)(settings.credentials)


def _kind(settings: Settings, generation: Generation | None) -> type[Authentication] | None:
    if settings.authentication != AUTO:
        return find(settings.authentication)
    if not settings.password:
        return None
    if not settings.login:
        return AnyToken
    return {None: None, Generation.V2: AirflowLogin}.get(generation, Basic)
