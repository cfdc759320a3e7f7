"""Reads files of pools, in the format of ``airflow pools export``."""

from __future__ import annotations

import json
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

from astronomer_remote.api.pools.diff import parse
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import Pool

LARGEST_POOL_FILE = 4 * 1024 * 1024
"""Bytes of a file of pools: twenty thousand of them."""


def read(path: str | Path) -> list[Pool]:
    """
    Read the pools that a file declares.

    :param path: file of JSON or, by its ending ``.yaml`` or ``.yml``, of YAML.
    :raises InvalidSettings: if it cannot be read, is larger than 4 MiB, names a pool twice, or declares one wrongly.
    """
    file = Path(path).expanduser()
    try:
        text = _text_of(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"The file of pools cannot be read: {error}.") from None
    try:
        return parse(
            _yaml(text) if file.suffix.lower() in (".yaml", ".yml") else json.loads(text, object_pairs_hook=_once)
        )
    except InvalidSettings as error:
        raise InvalidSettings(f"{file}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidSettings(f"{file} is not JSON: {error}.") from None


def _text_of(file: Path) -> str:
    # Of a device, or a pipe that nobody writes to, there is no end.
    if file.exists() and not file.is_file():
        raise InvalidSettings(f"{file} is not a file.")
    with file.open("rb") as opened:
        content = opened.read(LARGEST_POOL_FILE + 1)
    if len(content) > LARGEST_POOL_FILE:
        raise InvalidSettings(f"{file} is larger than {LARGEST_POOL_FILE} bytes, the most that is read of such a file.")
    # PowerShell begins a file with a mark of its encoding.
    return content.decode("utf-8-sig")


def from_text(given: Any) -> list[Pool]:
    """Read a declaration from an object, or from its JSON text, as a template renders to."""
    try:
        return parse(json.loads(given, object_pairs_hook=_once) if isinstance(given, str) else given)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidSettings):
            raise
        raise InvalidSettings(f"pools must be an object or its JSON text: {error}.") from None


def _once(pairs: list[Any]) -> dict[Any, Any]:
    """An object of which no key was written twice: the last one would win, silently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = sorted(str(name) for name, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise InvalidSettings(f"{', '.join(map(repr, twice))} is declared twice.")
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
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        raise InvalidSettings(f"it is not YAML of plain values: {' '.join(str(error).split())}.") from None
