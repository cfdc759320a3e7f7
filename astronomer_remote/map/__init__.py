"""Which local DAGs and tasks depend on what in which remote deployment."""

from __future__ import annotations

from astronomer_remote.map.find import map_of, read_folders
from astronomer_remote.map.model import Edge, ImportFailure, Map, Status, json_schema

__all__ = ["Edge", "ImportFailure", "Map", "Status", "json_schema", "map_of", "read_folders"]
