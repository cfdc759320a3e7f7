"""What a command prints: on stdout a table, plain lines or JSON, on stderr the rest. Nothing acts on a terminal."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.untrusted import UNSAFE


def print_json(value: Any) -> None:
    """Print JSON; in ASCII where stdout cannot have all characters."""
    # A text stream in memory has none.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = json.dumps(value, indent=2, ensure_ascii=not encoding.lower().startswith("utf"))
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


def quiet(*, verbose: bool) -> None:
    """Let only the command itself print: Airflow 2 logs to stdout, which must contain only JSON with --output json."""
    if verbose:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        return
    warnings.simplefilter("ignore")
    # Warnings about the remote, such as of a listing that is incomplete.
    ours = logging.getLogger("astronomer_remote")
    ours.handlers, ours.propagate = [_Warnings()], False
    ours.setLevel(logging.WARNING)
    logging.getLogger().setLevel(logging.CRITICAL + 1)


@contextmanager
def without_logs() -> Iterator[None]:
    """While Airflow, whose import sets up its own logging, is used, nothing is logged."""
    before, shown = logging.root.manager.disable, logging.getLogger("astronomer_remote").propagate
    if not shown:
        logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        if not shown:
            logging.disable(before)
            logging.getLogger().setLevel(logging.CRITICAL + 1)


class _Warnings(logging.Handler):
    """Prints as the command does."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"Warning: {record.getMessage()}")


def say(line: str) -> None:
    """Print a line on stderr, where nothing of it acts on the terminal."""
    print(untrusted.readable(line, 4000), file=sys.stderr, flush=True)
