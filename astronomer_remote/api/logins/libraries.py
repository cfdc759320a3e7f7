"""Libraries of cloud providers that logins use: whether they are installed, and what they must not log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from astronomer_remote.api.protocol.errors import InvalidSettings

SECONDS_TO_CONNECT = 10.0
SECONDS_TO_REPLY = 20.0
"""How long such a library waits for its service."""


def require(module: str, extra: str) -> None:
    """
    Check that the library of an extra is installed, without importing it.

    :raises InvalidSettings: if it is not.
    """
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        found = False
    if not found:
        raise InvalidSettings(
            f"This login needs {module}, which is not installed. Install "
            f"airflow-provider-astronomer-remote[{extra}] for workers, triggerer and API server (web server)."
        )


class _Unlogged(logging.Filter):
    """Drops what a library logs in threads that are in :func:`unlogged`."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.here, "active", False)


_UNLOGGED = _Unlogged()


@contextmanager
def unlogged(*names: str) -> Iterator[None]:
    """
    Keep requests and replies with tokens out of the log, which these libraries write there at level DEBUG.

    :param names: of the loggers. Only what the current thread logs is dropped.
    """
    for name in names:
        # Added once, however often it is called.
        logging.getLogger(name).addFilter(_UNLOGGED)
    _UNLOGGED.here.active = True
    try:
        yield
    finally:
        _UNLOGGED.here.active = False
