"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket

# Below the range from which systems take the ports of outgoing connections, any of which could otherwise
# land on the port between this check and the server's start.
FIRST, LAST = 20000, 32000
# Deployments that start at the same time must not find the same port, before either of them listens on it.
_given: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on now, another one each time; the caller must be ready for a collision."""
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
