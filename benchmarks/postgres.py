"""A PostgreSQL server of the benchmark's own: on a free port, in a temporary folder, ended with its parent."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2

from dev.ports import free_port
from dev.processes import Processes

# PostgreSQL refuses to run as root; Debian's package brings the first of these along.
ORDINARY_USERS = ("postgres", "nobody")
# As it is by default, but for what counts the time that statements take, room for a million rows, and no waiting
# for the disk, which others use as well.
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "shared_preload_libraries": "pg_stat_statements",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "fsync": "off",
}
START_SECONDS = 30.0


class Postgres:
    """
    A running server.

    :param port: where it listens on the loopback interface.
    :param pid: of its first process.
    """

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid

    def dsn(self, user: str, database: str = "airflow") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"


def programs() -> Path:
    """The folder of the newest server's programs; Debian leaves it out of the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else Path("/usr/lib/postgresql").glob("*/bin")
    there = sorted((folder for folder in folders if (folder / "initdb").exists()), key=lambda path: path.parts)
    if not there:
        raise SystemExit("No PostgreSQL server is installed: apt-get install postgresql")
    return there[-1]


def ordinary_user() -> str | None:
    """Whose processes they are to be, if not ours."""
    if os.geteuid():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ORDINARY_USERS if name in known)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a server with the database `airflow`, and end it in the end."""
    user = ordinary_user()
    prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    folder = Path(tempfile.mkdtemp(prefix="astronomer-remote-postgres-"))
    folder.chmod(0o711)
    data = folder / "data"
    data.mkdir()
    if user:
        shutil.chown(data, user)
    processes = Processes(folder, keep=False)
    try:
        initdb = [*prefix, str(programs() / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run([*initdb, "--locale=C.UTF-8"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        port = free_port()
        options = [f"-c{name}={value}" for name, value in OPTIONS.items()]
        command = [*prefix, str(programs() / "postgres"), "-D", str(data), "-p", str(port), "-k", str(data), *options]
        pid = processes.start("postgres", command, dict(os.environ), folder / "postgres.log")
        server = Postgres(port, pid)
        _create(server, folder / "postgres.log")
        yield server
        # What SIGTERM asks for would wait until every client has gone.
        processes.stop("postgres", signal.SIGINT)
    finally:
        processes.end()
        shutil.rmtree(folder, ignore_errors=True)


def _create(server: Postgres, log: Path) -> None:
    """Wait until it answers; then make the database, and who owns it."""
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            connection = psycopg2.connect(server.dsn("postgres", "postgres"))
            break
        except psycopg2.OperationalError as error:
            if time.monotonic() > ends:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from error
            time.sleep(0.1)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("CREATE ROLE airflow LOGIN")
        cursor.execute("CREATE DATABASE airflow OWNER airflow")
    with contextlib.closing(psycopg2.connect(server.dsn("postgres"))) as inside, inside, inside.cursor() as cursor:
        cursor.execute("CREATE EXTENSION pg_stat_statements")
