"""A deployment's own database, for whoever looks into it from outside: SQLite or PostgreSQL alike."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

BUSY_SECONDS = 60.0


class Database(Protocol):
    """What both databases offer; each `?` in a statement is a placeholder for an argument."""

    def query(self, sql: str, *arguments: object) -> list[Any]:
        """Run a SELECT and return its rows; dates are text in UTC with a space before the time."""
        ...

    def execute(self, sql: str, *arguments: object) -> None:
        """Run a statement that changes something."""
        ...

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""
        ...


class Sqlite:
    """A database that is a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def query(self, sql: str, *arguments: object) -> list[Any]:
        """Run a SELECT; while others write, it waits."""
        with closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as database:
            return database.execute(sql, arguments).fetchall()

    def execute(self, sql: str, *arguments: object) -> None:
        """Run a statement that changes something."""
        with closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as database, database:
            database.execute(sql, arguments)

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""
        return {row[0] for row in self.query("SELECT name FROM pragma_table_info(?)", table)}
