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

from dev import prepare
from dev.places import locked, subfolder
from dev.settings import DATABASE_FILE, PASSWORDS_FILE, Place, Users, passwords_file, settings
from dev.versions import Release

MARKER = "complete"


class PrepareError(RuntimeError):
    """A database could not be prepared; the text holds what Airflow said."""


def fill_home(
    version: Release, place: Place, users: Users, auth_manager: str | None, server: Mapping[str, str] | None = None
) -> None:
    """Put a prepared database and its companions into a new AIRFLOW_HOME.

    With `server`, the settings that lead to the database of a server, that is prepared instead.
    """
    if server:
        _prepare(version, place, users, auth_manager, server)
        return
    template = _template(version, place.environment, users, auth_manager)
    for path in template.iterdir():
        if path.name != MARKER:
            shutil.copy2(path, place.home / path.name)


def _template(version: Release, environment: Path, users: Users, auth_manager: str | None) -> Path:
    """Return a prepared home for exactly this, made on first use."""
    made_by = [Path(prepare.__file__).read_text(), Path(__file__).read_text()]
    facts = json.dumps([environment.name, auth_manager, dict(users), made_by], sort_keys=True)
    name = f"home-{version.text}-{auth_manager or 'default'}-{hashlib.sha256(facts.encode()).hexdigest()[:10]}"
    folder = subfolder("cache") / name
    if (folder / MARKER).exists():
        return folder
    with locked(folder.with_name(f"{name}.lock")):
        if not (folder / MARKER).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _prepare(version, Place(environment, folder, folder / "dags", 0), users, auth_manager, {})
            with closing(sqlite3.connect(folder / DATABASE_FILE)) as database:
                # Readers and a writer at the same time: far fewer "database is locked" with several processes.
                database.execute("PRAGMA journal_mode=WAL")
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
