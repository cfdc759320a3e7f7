"""The log of a remote task, its end or what was added to it, as plain lines, in whatever form the remote sends it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, islice
from typing import Any

from astronomer_remote.api.protocol import untrusted

LONGEST_LOG_LINE = 500
"""Characters of a line that are kept."""

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colour codes that programs write for a terminal."""

FOLD_MARK = re.compile(r"::(end)?group::")
"""Where Airflow's UI folds a log."""

LONGEST_LINES = 16 * 1024
"""Characters at the beginning of a log, or of one value in a record, that are read."""

LONGEST_END = 256 * 1024
"""Bytes at the end of a log in which its last lines are searched."""

MOST_RECORDS = 2000
"""Records at the end of a reply that are read: far more than the lines that are shown of one."""

MOST_LINES = 5000
"""Lines at the end of a reply after which no further record is read."""

MOST_FRAMES = 300
"""Frames of a traceback that are shown."""

MOST_CAUSES = 20
"""How many of the errors that led to one are shown."""

MOST_HOSTS = 100
"""Of how many hosts a log may be made up: each try of a task ran on one, or on a few."""

ERROR = b'"error_detail":['
"""What only the record of an exception holds."""

LEFT_OUT = {
    *("event", "timestamp", "level", "error_detail"),
    *("logger", "chan", "loc", "filename", "lineno", "func_name"),
    *("ti", "ti_id", "dag_id", "task_id", "run_id", "try_number", "map_index", "task_instance"),
}
"""Fields of a record that have a place of their own in a line, or only name the task and the place in Airflow."""


SOURCES = "*** "
"""How each of the lines begins in which Airflow 2 says, before a log, where it found that."""


@dataclass(frozen=True)
class LogPart:
    """
    What one reply holds of a log.

    :param lines: without those about where the log was found, which differ from reply to reply.
    :param token: makes the remote continue after them, if it sent one.
    :param error: which of the lines are the last exception, if that is known.
    :param first: the first line of the reply, if it is not the first one here.
    :param cut: whether lines of the reply's beginning are missing here, since it is very long.
    """

    lines: tuple[str, ...]
    token: str | None = None
    error: range = range(0)
    first: str = ""
    cut: bool = False


def text_lines(log: bytes, count: int) -> list[str]:
    """The last lines of a log that comes as text, as Airflow 2 gives it."""
    return _last([*_cleaned(_end_of(log))], count)


def record_lines(log: bytes, count: int) -> list[str]:
    """
    The last lines of a log that comes as a JSON object per line, as Airflow 3 gives it.

    A task may print much after the error that ended it; the error is part of the result in any case.
    """
    # A record has at least one line, so no more records are needed.
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
    shown = _last(error, count - count // 4)
    return [*shown, *_last(lines, count - len(shown))]


def text_part(body: Any) -> LogPart:
    """A log that comes as Python's text form of a list of hosts and their logs, as Airflow 2 gives it in JSON."""
    content = str(body["content"])
    try:
        logs = list(second_of_pairs(content))
    except (ValueError, SyntaxError):
        logs = [content]
    first, cut = "", sum(map(len, logs)) > LONGEST_END
    if cut:
        beginning = "\n".join(log[:LONGEST_LINES] for log in logs[:1])
        first = next(_without_sources(beginning.splitlines()), "")
        left = LONGEST_END
        for number in range(len(logs) - 1, -1, -1):
            logs[number] = _end_of_text(logs[number], left)
            left -= len(logs[number])
    lines = _without_sources(line for log in logs for line in log.splitlines())
    return LogPart(tuple(lines), body.get("continuation_token"), first=first, cut=cut)


def _without_sources(lines: Iterable[str]) -> Iterator[str]:
    """Lines as they are shown, without those about sources, which are between folds."""
    return dropwhile(lambda line: line.startswith(SOURCES), _cleaned(lines))


def _end_of_text(text: str, length: int) -> str:
    """The last whole lines of a text; of a single one its end."""
    if len(text) <= length:
        return text
    end = text[-length:] if length else ""
    return end.partition("\n")[2] or end


def second_of_pairs(text: str) -> Iterator[str]:
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
    found: list[list[str]] = []
    error_at, count, at = -1, 0, len(records)
    while at > 0 and count < MOST_LINES and len(found) < MOST_RECORDS:
        at -= 1
        found.append([*_cleaned(_lines_of(records[at]))])
        count += len(found[-1])
        if error_at < 0 and _has_error(records[at]):
            error_at = len(found) - 1
    cut = at > 0
    first = next(_cleaned(_lines_of(records[0])), "") if cut else ""
    if error_at < 0:
        # It may come long before what a task printed.
        errors = (record for record in reversed(records[:at]) if _has_error(record))
        found += [[*_cleaned(_lines_of(record))] for record in islice(errors, 1)]
        error_at = len(found) - 1 if len(found) > len(records) - at else -1
    lines = [line for part in reversed(found) for line in part]
    begins = sum(map(len, found[error_at + 1 :]))
    error = range(begins, begins + len(found[error_at])) if error_at >= 0 else range(0)
    return LogPart(tuple(lines), body.get("continuation_token"), error, first, cut)


def _has_error(record: Any) -> bool:
    return isinstance(record, dict) and bool(record.get("error_detail"))


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
        yield str(record)[:LONGEST_LINES]
        return
    event = _end_of_text(str(record.get("event", "")), LONGEST_LINES)
    more = [f"{name}={value!r}"[:LONGEST_LINES] for name, value in record.items() if _is_shown(name, value)]
    head = (record.get("timestamp"), str(record.get("level") or "").upper(), event, *more)
    yield from " ".join(str(part) for part in head if part).splitlines()
    details = record.get("error_detail")
    # The error that ended it comes first, and then what caused it.
    for error in reversed(details[:MOST_CAUSES] if isinstance(details, list) else []):
        if isinstance(error, dict):
            yield from _traceback(error)


def _traceback(error: Mapping[str, Any]) -> Iterator[str]:
    frames = error.get("frames")
    if isinstance(frames, list) and frames:
        yield "Traceback (most recent call last):"
        for frame in frames[-MOST_FRAMES:]:
            if isinstance(frame, dict):
                yield f'  File "{frame.get("filename")}", line {frame.get("lineno")}, in {frame.get("name")}'
    yield from f"{error.get('exc_type')}: {error.get('exc_value')}"[:LONGEST_LINES].splitlines()


def _is_shown(name: str, value: Any) -> bool:
    """Whether a field of a record has no place of its own, and says something."""
    return name not in LEFT_OUT and value is not None


def _last(lines: Sequence[str], count: int) -> list[str]:
    return [*lines[-count:]] if count else []


def _cleaned(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        text = COLOUR.sub("", line[:LONGEST_LINES]).replace("\t", "    ").rstrip()
        if text and not FOLD_MARK.search(text):
            yield untrusted.readable(text, LONGEST_LOG_LINE)
