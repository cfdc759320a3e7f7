"""Parses one folder of DAG files, in the process that ``find.py`` starts for it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from traceback import print_exc
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.map.edges import edges_of
from astronomer_remote.map.model import NO_REASON


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
