"""What a command prints on stdout: a table, plain lines or JSON, none of which can act on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.untrusted import UNSAFE


def print_json(value: Any) -> None:
    """Print JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # JSON does not escape all characters that control a terminal; its own line breaks stay.
    print(UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text))


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], output: str) -> None:
    """
    Print a listing.

    :param rows: plain JSON; all fields of it are printed as JSON.
    :param columns: titles by name of the fields that are printed otherwise.
    :param output: ``table``, ``plain`` or ``json``.
    """
    if output == "json":
        print_json(list(rows))
        return
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    if output == "plain":
        for line in cells:
            print("\t".join(map(untrusted.readable, line)))
        return
    from astronomer_remote.api.pools.diff import table

    print(table(list(columns.values()), cells))


def print_fields(fields: Mapping[str, Any], output: str) -> None:
    """Print one thing: JSON, or a line for each field that is known."""
    if output == "json":
        print_json(fields)
        return
    known = {name: _cell(value) for name, value in fields.items() if value is not None}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        print(f"{name}\t{untrusted.readable(value)}" if output == "plain" else _line(name, value, width))


def _line(name: str, value: str, width: int) -> str:
    return f"{name.ljust(width)}  {untrusted.readable(value)}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
