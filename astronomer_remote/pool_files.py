"""Reads files of pools, in the format of ``airflow pools export``."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from astronomer_remote.api.errors import InvalidSettings
from astronomer_remote.api.models import Pool
from astronomer_remote.api.pool_plan import parse


def read(path: str | Path) -> list[Pool]:
    """
    Read the pools that a file declares.

    :param path: file of JSON or, by its ending ``.yaml`` or ``.yml``, of YAML.
    :raises InvalidSettings: if it cannot be read, names a pool twice, or declares one wrongly.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"The file of pools cannot be read: {error}.") from None
    try:
        return parse(
            _yaml(text) if file.suffix.lower() in (".yaml", ".yml") else json.loads(text, object_pairs_hook=_once)
        )
    except InvalidSettings as error:
        raise InvalidSettings(f"{file}: {error}") from None
    except ValueError as error:
        raise InvalidSettings(f"{file} holds no JSON: {error}.") from None


def from_text(given: Any) -> list[Pool]:
    """Read a declaration from an object, or from its JSON text, as a template renders to."""
    try:
        return parse(json.loads(given, object_pairs_hook=_once) if isinstance(given, str) else given)
    except ValueError as error:
        if isinstance(error, InvalidSettings):
            raise
        raise InvalidSettings(f"pools must be an object or its JSON text: {error}.") from None


def _once(pairs: list[Any]) -> dict[Any, Any]:
    """An object of which no key was written twice: the last one would win, silently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [key for key, _ in pairs]
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        raise InvalidSettings(f"{', '.join(map(repr, twice))} stands there twice.")
    return found


def _yaml(text: str) -> Any:
    # Airflow brings it along; it has no types, and a DAG file that imports an operator need not pay for it.
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        raise InvalidSettings("to read YAML, install PyYAML, or write the same as JSON.") from None
    loader: Any = type("PoolsLoader", (yaml.SafeLoader,), {})

    def mapping(this: Any, node: Any) -> dict[Any, Any]:
        return _once([tuple(this.construct_object(part, deep=True) for part in pair) for pair in node.value])

    loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return yaml.load(text, loader)  # as safe as the one it is made of
    except (yaml.YAMLError, TypeError) as error:
        raise InvalidSettings(f"it holds no YAML of plain values: {' '.join(str(error).split())}.") from None
