"""A remote task's log, its end or what was added to it, as plain lines, whatever form the remote gives it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any

from astronomer_remote.api import untrusted

LONGEST_LINE = 500
"""Characters of a line that are kept."""

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What programs write for a terminal's sake."""

FOLD = re.compile(r"::(end)?group::")
"""Where Airflow's UI folds a log."""

LONGEST_END = 256 * 1024
"""Bytes at the end of a log among which its last lines are looked for."""

MOST_HOSTS = 100
"""Of how many hosts a log may be made up: each try of a task ran on one, or on a few."""

ERROR = b'"error_detail":['
"""What only the record of an exception holds."""

LEFT_OUT = {
    *("event", "timestamp", "level", "error_detail"),
    *("logger", "chan", "loc", "filename", "lineno", "func_name"),
    *("ti", "ti_id", "dag_id", "task_id", "run_id", "try_number", "map_index", "task_instance"),
}
"""Fields of a record that are told in their own place, or tell only where in Airflow, and of which task, it is."""


SOURCES = "*** "
"""How each of the lines begins in which Airflow 2 says, before a log, where it found that."""


@dataclass(frozen=True)
class LogPart:
    """
    What one reply holds of a log.

    :param lines: without those about where the log was found, which differ from reply to reply.
    :param token: what makes the remote go on after them, if it says.
    :param error: which of the lines tell the last exception, if it is known.
    """

    lines: tuple[str, ...]
    token: str | None = None
    error: range = range(0)


def text_lines(log: bytes, count: int) -> list[str]:
    """The last lines of a log that comes as text, as Airflow 2 gives it."""
    return _last([*_cleaned(_end_of(log))], count)


def record_lines(log: bytes, count: int) -> list[str]:
    """
    The last lines of a log that comes as a JSON object per line, as Airflow 3 gives it.

    What a task printed may stand there long after the error that ended it, which is told in any case.
    """
    # A record has one line at least, so that no more of them can be wanted.
    records = _end_of(log)[-count:]
    lines = [*_cleaned(line for record in records for line in _lines_of(_record(record)))]
    last_error = log.rfind(ERROR)
    if last_error < 0 or any(ERROR.decode() in record for record in records):
        return _last(lines, count)
    begins, ends = log.rfind(b"\n", 0, last_error) + 1, log.find(b"\n", last_error)
    record = _record(log[begins:ends].decode("utf-8", errors="replace"))
    return last_after_error([*_cleaned(_lines_of(record))], lines, count)


def last_after_error(error: Sequence[str], lines: Sequence[str], count: int) -> list[str]:
    """The last lines of a log, and before them the error that stands further up in it, in so many lines together."""
    told = _last(error, count - count // 4)
    return [*told, *_last(lines, count - len(told))]


def text_part(body: Any) -> LogPart:
    """A log that comes as Python's text form of a list of hosts and their logs, as Airflow 2 gives it in JSON."""
    content = str(body["content"])
    try:
        logs = list(_second_of_pairs(content))
    except (ValueError, SyntaxError):
        logs = [content]
    # The lines about sources stand between folds.
    lines = _cleaned(line for log in logs for line in log.splitlines())
    return LogPart(tuple(dropwhile(lambda line: line.startswith(SOURCES), lines)), body.get("continuation_token"))


def _second_of_pairs(text: str) -> Iterator[str]:
    """
    The second text of each pair in Python's form of a list of pairs of texts: ``[('a', "b"), ('c', 'd')]``.

    Python's parser would take hundreds of times the size of a text that is made for it.

    :raises ValueError: for any other text.
    """
    # In a text of the same length, no quote is an escaped one.
    plain = text.replace("\\\\", "__").replace("\\'", "__").replace('\\"', "__")

    def literal(at: int) -> int:
        """Where a text literal ends."""
        end = plain.find(plain[at], at + 1) if plain[at : at + 1] in ("'", '"') else -1
        if end < 0:
            raise ValueError(f"a text expected: {at}")
        return end + 1

    at = _after(text, 0, "[")
    for _ in range(MOST_HOSTS):
        if text.startswith("]", at):
            break
        log = _after(text, literal(_after(text, at, "(")), ", ")
        end = literal(log)
        yield str(ast.literal_eval(text[log:end]))
        at = _after(text, end, ")")
        at = at if text.startswith("]", at) else _after(text, at, ", ")
    if at + 1 != len(text):
        raise ValueError(f"more than a list: {at}")


def _after(text: str, at: int, due: str) -> int:
    if not text.startswith(due, at):
        raise ValueError(f"{due!r} expected: {at}")
    return at + len(due)


def record_part(body: Any) -> LogPart:
    """A log that comes as a list of records, as Airflow 3 gives it in JSON."""
    records = body["content"]
    folds = [str(record.get("event")) if isinstance(record, dict) else str(record) for record in records[:100]]
    if folds and folds[0].startswith("::group::"):
        records = records[folds.index("::endgroup::") + 1 if "::endgroup::" in folds else 0 :]
    lines: list[str] = []
    error = range(0)
    for record in records:
        begins = len(lines)
        lines += _cleaned(_lines_of(record))
        if isinstance(record, dict) and record.get("error_detail"):
            error = range(begins, len(lines))
    return LogPart(tuple(lines), body.get("continuation_token"), error)


def _end_of(log: bytes) -> list[str]:
    """The last whole lines of a log."""
    end = log if len(log) <= LONGEST_END else log[-LONGEST_END:].partition(b"\n")[2]
    return end.decode("utf-8", errors="replace").splitlines()


def _record(line: str) -> Any:
    """A line as the record that it should be."""
    try:
        return untrusted.loads(line.encode())
    except ValueError:
        return line


def _lines_of(record: Any) -> Iterator[str]:
    """A record as text."""
    if not isinstance(record, dict):
        yield str(record)
        return
    event = str(record.get("event", ""))
    more = [f"{name}={value!r}" for name, value in record.items() if name not in LEFT_OUT and value is not None]
    head = (record.get("timestamp"), str(record.get("level") or "").upper(), event, *more)
    yield from " ".join(str(part) for part in head if part).splitlines()
    details = record.get("error_detail")
    # The error that ended it comes first, and then what caused it.
    for error in reversed(details if isinstance(details, list) else []):
        if isinstance(error, dict):
            yield from _traceback(error)


def _traceback(error: Mapping[str, Any]) -> Iterator[str]:
    frames = error.get("frames")
    if isinstance(frames, list) and frames:
        yield "Traceback (most recent call last):"
        for frame in frames:
            if isinstance(frame, dict):
                yield f'  File "{frame.get("filename")}", line {frame.get("lineno")}, in {frame.get("name")}'
    yield from f"{error.get('exc_type')}: {error.get('exc_value')}".splitlines()


def _last(lines: Sequence[str], count: int) -> list[str]:
    return [*lines[-count:]] if count else []


def _cleaned(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        text = COLOUR.sub("", line).replace("\t", "    ").rstrip()
        if text and not FOLD.search(text):
            yield untrusted.readable(text, LONGEST_LINE)
