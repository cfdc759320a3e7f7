"""
One process polls for all workers of an API server, so that their number does not multiply the requests.

The first one that needs a status listens at a Unix socket, and the others get theirs from it. When it ends, the next
one that needs a status takes its place. A lock, which ends with the process, decides who that is.
"""

from __future__ import annotations

import asyncio
import fcntl
import hmac
import json
import os
import stat
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

from airflow.providers.common.compat.sdk import conf

from astronomer_remote.ui.status import NoSuchConnection, TooManyConnections

SECONDS_TO_REPLY = 5.0
"""How long another process may take for a status it should know."""

SECONDS_TO_LISTEN = 2.0
"""How long the process with the lock may take until it listens."""

SECONDS_BETWEEN_ATTEMPTS = 0.05

ERRORS: dict[str, type[Exception]] = {each.__name__: each for each in (NoSuchConnection, TooManyConnections)}
"""What another process may raise."""

Answer = Callable[[str], Awaitable[dict[str, Any]]]


class NoReply(Exception):
    """The process that polls is too busy to reply."""


class OnePoller:
    """
    Reads the status of a connection in this process, or in the one that polls for all.

    :param answer: reads it in this process.
    :param folder: where the processes meet, see :func:`shared_folder`; ``None``: this process polls by itself.
    """

    def __init__(self, answer: Answer, folder: Path | None = None) -> None:
        self._answer = answer
        self._folder = folder
        self._lock: IO[bytes] | None = None
        self._server: asyncio.Server | None = None

    async def __call__(self, conn_id: str) -> dict[str, Any]:
        """
        Read the status of a connection.

        :raises NoSuchConnection: if there is none.
        :raises TooManyConnections: if there is no room for one more.
        :raises NoReply: if the process that polls does not reply.
        """
        if self._folder is not None:
            ends = asyncio.get_running_loop().time() + SECONDS_TO_LISTEN
            while self._server is None and asyncio.get_running_loop().time() < ends:
                with suppress(OSError):
                    return await self._from_other(self._folder, conn_id)
                try:
                    await self._listen(self._folder)
                except OSError:
                    await asyncio.sleep(SECONDS_BETWEEN_ATTEMPTS)
        # Here too if the folder cannot be used after all.
        return await self._answer(conn_id)

    async def _listen(self, folder: Path) -> None:
        """
        Become the process that polls.

        :raises OSError: if there is another one.
        """
        lock = (folder / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Of one that has ended.
            _socket(folder).unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._reply, _socket(folder))
        except OSError:
            lock.close()
            raise
        self._lock = lock

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            conn_id = json.loads(await reader.readline())
            try:
                found: dict[str, Any] = {"status": await self._answer(conn_id)}
            except tuple(ERRORS.values()) as error:
                found = {"error": type(error).__name__}
            writer.write(json.dumps(found).encode())
            with suppress(ConnectionError):
                await writer.drain()

    async def _from_other(self, folder: Path, conn_id: str) -> dict[str, Any]:
        """
        Read it in the process that polls.

        :raises OSError: if there is none.
        """
        reader, writer = await asyncio.open_unix_connection(_socket(folder))
        with closing(writer):
            try:
                writer.write(json.dumps(conn_id).encode() + b"\n")
                found = json.loads(await asyncio.wait_for(reader.read(), SECONDS_TO_REPLY))
            except (OSError, ValueError, asyncio.TimeoutError) as error:
                raise NoReply from error
        if "error" in found:
            raise ERRORS[found["error"]](conn_id)
        status: dict[str, Any] = found["status"]
        return status


def shared_folder() -> Path | None:
    """
    Where the processes of this deployment on this machine meet: a folder that only this user of the machine can read.

    :return: ``None`` if there can be none.
    """
    # With a key, since the address of the database may contain a password.
    key, text = (
        conf.get(*each, fallback="") or "" for each in (("api", "secret_key"), ("database", "sql_alchemy_conn"))
    )
    folder = Path(
        tempfile.gettempdir(), f"astronomer-remote-{hmac.digest(key.encode(), text.encode(), 'sha256').hex()[:32]}"
    )
    try:
        folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == stat.S_IRWXU
    return folder if is_private and found.st_uid == os.geteuid() else None


def _socket(folder: Path) -> Path:
    return folder / "socket"
