"""Prepared AIRFLOW_HOMEs, kept: migrating a database and creating users takes longer than copying a file."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from dev import database, prepare
from dev.places import locked, subfolder
from dev.settings import DATABASE_FILE, DATABASE_VARIABLE, PASSWORDS_FILE, Place, Users, passwords_file, settings
from dev.versions import Release

MARKER = "complete"
SERVER_DATA = "postgresql"
"""The folder of a template with the data that :func:`dev.database.postgres` starts from."""


class PrepareError(RuntimeError):
    """A database could not be prepared; the text holds what Airflow said."""


def fill_home(template: Path, home: Path) -> None:
    """Copy the files of a template into a new AIRFLOW_HOME, without the data of a server."""
    for path in template.iterdir():
        if path.is_file() and path.name != MARKER:
            shutil.copy2(path, home / path.name)


def home_template(
    version: Release, environment: Path, users: Users, auth_manager: str | None, *, on_server: bool = False
) -> Path:
    """Return a prepared home for exactly this, made on first use.

    Its database is SQLite or, with `on_server`, the data of a PostgreSQL server in the folder :data:`SERVER_DATA`.
    """
    made_by = [Path(file).read_text() for file in (prepare.__file__, __file__)]
    if on_server:
        made_by += [Path(str(database.__file__)).read_text(), str(database.programs())]
    facts = json.dumps([environment.name, auth_manager, dict(users), made_by], sort_keys=True)
    kind = f"{'postgresql-' if on_server else ''}{auth_manager or 'default'}"
    name = f"home-{version.text}-{kind}-{hashlib.sha256(facts.encode()).hexdigest()[:10]}"
    folder = subfolder("cache") / name
    if (folder / MARKER).exists():
        return folder
    with locked(folder.with_name(f"{name}.lock")):
        if not (folder / MARKER).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            place = Place(environment, folder, folder / "dags", 0)
            if on_server:
                with database.postgres(keep=folder / SERVER_DATA) as server:
                    address = {DATABASE_VARIABLE: server.dsn(driver="postgresql+psycopg2")}
                    _prepare(version, place, users, auth_manager, address)
            else:
                _prepare(version, place, users, auth_manager, {})
                with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
                    # Readers and a writer at the same time: far fewer "database is locked" with several processes.
                    connection.execute("PRAGMA journal_mode=WAL")
            (folder / MARKER).touch()
    return folder


def _prepare(version: Release, place: Place, users: Users, auth_manager: str | None, server: Mapping[str, str]) -> None:
    # An empty configuration file: else several starting processes would race to write the default one.
    (place.home / "airflow.cfg").write_text("# Everything is set by environment variables.\n")
    kept_by_fab = version.generation != "v2" or auth_manager == "fab"
    if not kept_by_fab:
        (place.home / PASSWORDS_FILE).write_text(passwords_file(users))
    done = subprocess.run(
        [
            str(place.environment / "bin" / "python"),
            "-I",  # this folder's modules must not shadow others
            prepare.__file__,
            json.dumps({"users": dict(users) if kept_by_fab else {}}),
        ],
        env=settings(version, place, users, auth_manager, server),
        cwd=place.home,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PrepareError(f"preparing Airflow {version.text} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    for leftover in place.home.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
