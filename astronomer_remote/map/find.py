"""
Finds the dependencies of DAGs, or in folders of DAG files, without a request to a remote.

Each folder is parsed in a process of its own (``parse.py``): two deployments may have modules of the same name, and a
DAG file may print, or end the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.map.model import NO_REASON, Edge, ImportFailure, Map


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


def map_of(dags: Iterable[Any], local: str = "") -> Map:
    """
    The map of DAGs that are there already.

    :param dags: as Airflow's ``DagBag`` parsed them, or deserialized from its database.
    :param local: name of their deployment, default none.
    """
    # It imports Airflow, which `read_folders` leaves to other processes.
    from astronomer_remote.map.edges import edges_of

    found = Map()
    for dag in sorted(dags, key=lambda dag: str(dag.dag_id)):
        file = str(getattr(dag, "relative_fileloc", None) or dag.fileloc)
        found.edges += [Edge(local=local, **fields) for fields in edges_of(dag, file)]
        found.dags += 1
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
        command = [sys.executable, "-m", "astronomer_remote.map.parse", str(folder), str(result)]
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
