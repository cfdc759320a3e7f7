"""Words that only this project understood stay out of it: a reader finds things by the words of the field."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

if not (ROOT / ".git").exists():
    pytest.skip("what belongs to the project is listed by git", allow_module_level=True)

PHRASES = {
    r"told|tells?|telling|tellers?": "say, show, report, log, inform",
    r"ask(?:s|ed|ing)?": "request, poll, query, read, check",
    r"somebody(?: else)?|anybody": "another task, a user, someone",
    r"wish(?:es|ed)?": "intent, request",
    r"wanted": "target, expected, requested",
    r"anew": "again, from scratch",
    r"lest": "so that ... not",
    r"bears?": "has, carries, tolerates",
    r"shall": "must, will, should",
    r"mend(?:s|ed|ing)?": "fix, repair",
    r"heard (?:of|from)|unheard": "noticed, seen, known",
    r"(?:is|are|was|were|be|been) had": "read, available",
    r"(?:wait|waits|waited|waiting) on": "keep waiting",
    r"(?:go|goes|going|gone|went) on": "continue",
    r"at (?:its|their) end": "when it finishes",
    r"hops?": "step, DAGs on the way",
    r"verdicts?": "status, result",
    r"conversations?|converses?|conversing": "client, flow, run",
    r"patien(?:ce|t|tly)": "retries, backoff",
    r"exchanges?": "operation, request and reply",
    r"ticks?": "poll",
    r"judges?": "evaluate",
    r"(?:refus\w+|rejected|failed?s?|said so) by name": "with a clear error",
    r"(?:a|one|each|every|first|next|last|another|this|that|the|two|few|per|of|for|after) looks?": "poll",
}
"""Regular expressions of what is not written, and what is instead. A space may be an underscore or line break."""

NAMES = (
    *("Conversation", "ask_all", "Patience", "Exchange", "Wanted", "Observation", "Verdict", "Tick", "told_to", "News"),
    *("Caution", "Teller", "Telling", "WaitsForRoom", "MakesItsRun", "WaitsForItsRun", "Explains", "Connected"),
)
"""Names of classes and functions that were replaced by words of the field."""

MODULES = ("hops", "between", "room", "connected", "explained", "teller", "telling")
"""Names of modules that were replaced, too."""

PATTERN = "|".join(PHRASES).replace(" ", r"[\s_#\"']+")
WORDS = re.compile(rf"(?<![a-z])(?:{PATTERN})(?![a-z])", re.IGNORECASE)
OLD_NAMES = re.compile(
    rf"(?<![A-Za-z_])(?:{'|'.join(NAMES)})(?![a-z])|(?<=operators[./])(?:{'|'.join(MODULES)})(?![a-z_])"
)

EXEMPT = {
    "LICENSE": "the text of the Apache License",
    "tests/test_words.py": "lists the words",
}
"""Files that may hold any word, and why."""

NOT_TEXT = {".png"}


def tracked() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in map(ROOT.joinpath, names) if path.is_file() and path.suffix not in NOT_TEXT]


def found(text: str) -> Iterator[str]:
    """The words in a text. Neither an underscore nor a capital within a name hides one."""
    for pattern, searched in ((WORDS, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)), (OLD_NAMES, text)):
        for match in pattern.finditer(searched):
            yield f"{match[0]!r} in line {searched.count(chr(10), 0, match.start()) + 1}"


def test_no_private_word_is_left() -> None:
    paths = [path for path in tracked() if path.relative_to(ROOT).as_posix() not in EXEMPT]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    assert {"astronomer_remote", "docs", "tests", "dev", "benchmarks", "README.md"} <= {
        name.partition("/")[0] for name in names
    }
    words = [
        f"{name}: {word}"
        for name, path in zip(names, paths, strict=True)
        for word in (*found(name), *found(path.read_text()))
    ]
    assert not words, "\n".join(words)


def test_every_exemption_is_of_a_file_that_needs_it() -> None:
    for name in EXEMPT:
        assert list(found((ROOT / name).read_text())), name


@pytest.mark.parametrize(
    "text",
    [
        *("What it was told", "tells_unknown_from_forbidden", "who_asked", "Somebody else's", "a wish", "AsWanted"),
        *("on_tell", "read anew", "test_is_refused_by_name", "at the next look", "first_look", "waits on", "goes_on"),
        *("class Conversation:", "class ClientPatience:", "told_to(log)", "operators.room import", "operators/hops.py"),
        *("# a wait goes\n    # on", '"a state that was heard "\n    "of"'),
    ],
)
def test_a_word_is_found_in_prose_and_in_names(text: str) -> None:
    assert list(found(text))


@pytest.mark.parametrize(
    "text",
    [
        *("a task", "shallow", "Bearer", "intelligent", "exchanged for a token", "stick", "hopeless"),
        *("it looks like", "look it up", "waits for", "amended", "multitasking", "hotel"),
    ],
)
def test_a_part_of_another_word_is_not_found(text: str) -> None:
    assert not list(found(text))
