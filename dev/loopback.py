"""Free ports on the loopback interface, and no proxy on the way to it."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping

# Below the range from which systems take the ports of outgoing connections, any of which could otherwise
# land on the port between this check and the server's start.
FIRST, LAST = 20000, 32000
# Deployments that start at the same time must not find the same port, before either of them listens on it.
_given: set[int] = set()
NAMES = ("127.0.0.1", "localhost", "::1")


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that exempt this machine from the proxies named in `environment`, besides what it exempts.

    Both spellings, since curl and Python's ``urllib`` read the lower case first, and some programs only one of them.
    """
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [name.strip() for name in given.split(",") if name.strip()]
    # An asterisk exempts everything, but only where it stands alone.
    value = "*" if "*" in names else ",".join(dict.fromkeys([*names, *NAMES]))
    return {"no_proxy": value, "NO_PROXY": value}


def bypass_proxy() -> None:
    """Exempt this machine from the proxies of this process and its children."""
    os.environ.update(without_proxy(os.environ))


def free_port() -> int:
    """Return a port that nothing listens on now, another one each time; the caller must be ready for a collision."""
    for port in random.sample(range(FIRST, LAST), 100):
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise OSError(f"no free port found between {FIRST} and {LAST}")
