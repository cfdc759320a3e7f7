"""A PostgreSQL server of our own, and a database seen from outside, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.database import Database, Sqlite, postgres
from dev.deployments import Airflow
from tests.waiting import living, soon


@contextmanager
def sqlite(folder: Path) -> Iterator[Database]:
    yield Sqlite(folder / "airflow.db")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_seen_from_outside(kind: str, tmp_path: Path) -> None:
    with sqlite(tmp_path) if kind == "sqlite" else postgres() as database:
        database.execute("CREATE TABLE run (id INTEGER, name TEXT, ended TIMESTAMP, data BYTEA)")
        database.execute(
            "INSERT INTO run VALUES (1, ?, '2026-01-02 03:04:05.000000', ?)", "it's \"?\"; :'a0' \\", "some data"
        )
        database.execute("INSERT INTO run VALUES (2, 'other', '2026-01-02 03:04:05.670000', NULL)")
        assert database.query("SELECT name, ended FROM run WHERE id = ?", 1) == [
            ("it's \"?\"; :'a0' \\", "2026-01-02 03:04:05.000000")
        ]
        assert database.query("SELECT ended FROM run WHERE id = 2") == [("2026-01-02 03:04:05.670000",)]
        assert all(text in database.dump() for text in (b"other", b"some data", b"2026-01-02"))
        assert database.query("SELECT max(id), count(*) FROM run WHERE name = ? OR id = ?", "other", 1) == [(2, 2)]
        assert database.query("SELECT id, id FROM run ORDER BY id") == [(1, 1), (2, 2)]
        assert database.query("SELECT id FROM run WHERE id > 2") == []
        assert database.columns("run") == {"id", "name", "ended", "data"}
        database.execute("CREATE TABLE event (extra JSON, seen BOOLEAN)")
        database.execute("INSERT INTO event VALUES (?, ?)", '{"rows": [1, {"at": null}]}', 0)
        assert database.query("SELECT extra FROM event") == [('{"rows": [1, {"at": null}]}',)]
        assert database.query("SELECT seen FROM event")[0][0] in (0, False)
        with pytest.raises(Exception, match="no_such_table"):
            database.query("SELECT 1 AS one FROM no_such_table")


def test_a_server_listens_on_loopback_only_and_leaves_nothing_behind() -> None:
    with postgres({"max_connections": "7"}) as server:
        assert server.query("SELECT setting FROM pg_settings WHERE name = 'listen_addresses'") == [("127.0.0.1",)]
        assert server.query("SELECT setting FROM pg_settings WHERE name = 'max_connections'") == [("7",)]
        (folder,) = server.query("SELECT setting FROM pg_settings WHERE name = 'data_directory'", user="postgres")[0]
        assert Path(folder).parent.exists()
    soon(lambda: not living({server.pid}))
    assert not Path(folder).parent.exists()


def test_a_server_starts_from_what_another_one_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with postgres(keep=kept) as first:
        first.execute("CREATE TABLE run (id INTEGER)")
        first.execute("INSERT INTO run VALUES (7)")
    for _ in range(2):
        with postgres(template=kept) as server:
            assert server.query("SELECT id FROM run") == [(7,)]
            server.execute("UPDATE run SET id = 8")


def test_an_airflow_without_the_settings_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2\.2\.5 is started on SQLite only"):
        Airflow("2.2.5", database="postgresql")
