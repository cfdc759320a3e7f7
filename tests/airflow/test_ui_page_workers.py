"""Several processes of an API server: one of them polls for all."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astronomer_remote.ui import one_poller
from astronomer_remote.ui.one_poller import NoReply, OnePoller, shared_folder
from astronomer_remote.ui.status import NoSuchConnection, TooManyConnections


class Worker:
    """What one process knows, and how often it was read."""

    def __init__(self, folder: Path | None, name: str = "first") -> None:
        self.name = name
        self.read: list[str] = []
        self.status = OnePoller(self._answer, folder)

    async def _answer(self, conn_id: str) -> dict[str, Any]:
        self.read.append(conn_id)
        await asyncio.sleep(0)
        if conn_id == "missing":
            raise NoSuchConnection(conn_id)
        if conn_id == "too many":
            raise TooManyConnections
        return {"of": conn_id, "by": self.name}

    def end(self) -> None:
        """As the system does for a process that ends."""
        assert self.status._server
        assert self.status._lock
        self.status._server.close()
        self.status._lock.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    # The path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        yield Path(made)


def test_one_worker_polls_for_all(folder: Path) -> None:
    async def run() -> None:
        workers = [Worker(folder, str(number)) for number in range(4)]
        found = await asyncio.gather(*(each.status("sales/ünïted") for each in workers for _ in range(3)))
        (by,) = {each["by"] for each in found}
        assert {each["of"] for each in found} == {"sales/ünïted"}
        assert [len(each.read) for each in workers] == [12 if each.name == by else 0 for each in workers]
        workers[int(by)].end()

    asyncio.run(run())


@pytest.mark.parametrize(("conn_id", "kind"), [("missing", NoSuchConnection), ("too many", TooManyConnections)])
def test_an_error_is_that_of_the_worker_that_polls(folder: Path, conn_id: str, kind: type[Exception]) -> None:
    async def run() -> None:
        first, other = Worker(folder), Worker(folder)
        for each in (first, other):
            with pytest.raises(kind):
                await each.status(conn_id)
        assert (first.read, other.read) == ([conn_id] * 2, [])
        first.end()

    asyncio.run(run())


def test_another_worker_takes_the_place_of_one_that_ended(folder: Path) -> None:
    async def run() -> None:
        first, second = Worker(folder, "first"), Worker(folder, "second")
        assert (await first.status("sales"))["by"] == "first"
        first.end()
        assert (await second.status("sales"))["by"] == "second"
        second.end()

    asyncio.run(run())


def test_another_worker_takes_the_place_of_one_that_was_killed(folder: Path) -> None:
    ready = multiprocessing.get_context("spawn").Event()
    process = multiprocessing.get_context("spawn").Process(target=_poll_forever, args=(folder, ready))
    process.start()

    async def run() -> None:
        second = Worker(folder, "second")
        assert (await second.status("sales"))["by"] == "killed"
        process.kill()
        await asyncio.to_thread(process.join)
        assert (await second.status("sales"))["by"] == "second"
        second.end()

    try:
        assert ready.wait(60)
        asyncio.run(run())
    finally:
        process.kill()
        process.join()
        process.close()


def _poll_forever(folder: Path, ready: Any) -> None:
    async def run() -> None:
        await Worker(folder, "killed").status("sales")
        ready.set()
        await asyncio.sleep(600)

    asyncio.run(run())


def test_a_worker_that_hangs_is_not_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_poller, "SECONDS_TO_REPLY", 0.1)

    async def hang(conn_id: str) -> dict[str, Any]:
        await asyncio.sleep(1 if conn_id == "slow" else 0)
        return {}

    async def run() -> None:
        first, other = OnePoller(hang, folder), Worker(folder)
        await first("sales")
        with pytest.raises(NoReply):
            await other.status("slow")
        assert other.read == []
        # What a worker reads late hurts nothing.
        await asyncio.sleep(1)
        first._server.close()
        first._lock.close()

    asyncio.run(run())


@pytest.mark.parametrize("reply", [b"", b"<html>", b"\xff"])
def test_what_is_no_reply_is_an_error(folder: Path, reply: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_unix_server(answer, folder / "socket")
        with pytest.raises(NoReply):
            await Worker(folder).status("sales")
        server.close()

    asyncio.run(run())


def test_each_worker_polls_by_itself_if_nothing_can_be_shared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_poller, "SECONDS_TO_LISTEN", 0.2)

    async def run() -> None:
        for where in (None, folder / "missing", folder / ("long" * 30)):
            each = Worker(where)
            assert await each.status("sales") == {"of": "sales", "by": "first"}

    (folder / ("long" * 30)).mkdir()
    asyncio.run(run())


def test_the_folder_is_private_and_of_one_database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "s3cr3t")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://airflow:passw0rd@db/sales")
    found = shared_folder()
    assert found
    assert found == shared_folder()
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    assert len(str(Path("/tmp", found.name, "socket"))) < 100
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://airflow:passw0rd@db/other")
    assert shared_folder() != found


def test_a_folder_that_others_can_use_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    found = shared_folder()
    assert found
    found.chmod(0o770)
    assert shared_folder() is None
    found.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: found.stat().st_uid + 1)
    assert shared_folder() is None
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    found.rmdir()
    (folder / "elsewhere").mkdir(mode=0o700)
    found.symlink_to(folder / "elsewhere")
    assert shared_folder() is None
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    assert shared_folder() is None
