"""
Finds the dependencies in a folder of DAG files, without a request to a remote.

Each folder is parsed in a process of its own (:func:`main`): two deployments may have modules of the same name, and a
DAG file may print, or end the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from traceback import print_exc
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.map.edges import edges_of
from astronomer_remote.map.model import Edge, ImportFailure, Map

NO_REASON = "no reason given"


def read_folders(folders: Mapping[str, str | Path]) -> Map:
    """
    Parse the DAG files of local deployments, without a request to a remote.

    :param folders: a folder of DAG files by the deployment's name.
    :raises InvalidSettings: if a folder cannot be read.
    """
    found = Map()
    for name, folder in folders.items():
        if not Path(folder).is_dir():
            raise InvalidSettings(f"There is no folder {str(folder)!r}.")
        read = _in_another_process(Path(folder).resolve())
        found.dags += read["dags"]
        found.edges += [Edge(local=name, **fields) for fields in read["edges"]]
        found.import_errors += [ImportFailure(name, file, error) for file, error in read["import_errors"].items()]
    return found


def _in_another_process(folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        result, log = Path(scratch, "map.json"), Path(scratch, "log")
        environment = {
            **os.environ,
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # Airflow adds it in a process that parses DAG files, but not to every command.
            "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
        }
        command = [sys.executable, "-m", "astronomer_remote.map.find", str(folder), str(result)]
        # A file, since a process that a DAG file starts would keep a pipe open. Nothing may read our own input.
        with log.open("wb") as written:
            done = subprocess.run(  # noqa: S603  # our own module
                command, env=environment, stdin=subprocess.DEVNULL, stdout=written, stderr=written, check=False
            )
        if not result.exists():
            last = untrusted.readable((log.read_text(errors="replace").strip().splitlines() or [NO_REASON])[-1])
            raise InvalidSettings(
                f"The DAG files in {str(folder)!r} could not be parsed: their process ended with {done.returncode} "
                f"after: {last}"
            )
        read: dict[str, Any] = json.loads(result.read_text())
        return read


def main(folder: str, result: str) -> None:
    """Parse a folder, and write what was found as JSON."""
    bag = _bag(folder)
    errors = {_below(folder, file): cause(error) for file, error in bag.import_errors.items()}
    edges: list[dict[str, Any]] = []
    for dag in sorted(bag.dags.values(), key=lambda dag: str(dag.dag_id)):
        file = _below(folder, dag.fileloc)
        try:
            edges += edges_of(dag, file)
        except Exception as error:  # noqa: BLE001  # a class of a DAG file may raise anything
            errors[file] = untrusted.readable(f"The dependencies of DAG {dag.dag_id!r} are not known: {error!r}")
    found = {"dags": len(bag.dags), "edges": edges, "import_errors": dict(sorted(errors.items()))}
    # Another process may not see half of it.
    Path(f"{result}.part").write_text(json.dumps(found))
    Path(f"{result}.part").rename(result)


def _bag(folder: str) -> Any:
    try:
        # Airflow 3.1 moved it.
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

    class Bag(DagBag):
        def process_file(self, filepath: str, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().process_file(filepath, *args, **kwargs)  # type: ignore[no-untyped-call]  # so in Airflow
            except SystemExit as ended:
                # Airflow 2 parses each file in a process of its own, which this ends.
                self.import_errors[filepath] = f"SystemExit: {ended}"
                return []

    return Bag(dag_folder=folder)


def _below(folder: str, file: str) -> str:
    path = Path(file)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(file)


def cause(error: str) -> str:
    """The exception of a traceback, in one line."""
    lines = error.strip().splitlines() or [NO_REASON]
    # The traceback's own lines are indented, and an exception's text may have several.
    after = max((number for number, line in enumerate(lines) if line.startswith("  ")), default=-1) + 1
    return untrusted.readable(lines[after if after < len(lines) else -1].strip())


def _end() -> None:
    """Parse a folder as a process of its own, and end it although a thread of a DAG file may still run."""
    code = 1
    try:
        main(*sys.argv[1:])
        code = 0
    except Exception:  # noqa: BLE001  # the last line on stderr is shown
        print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _end()
