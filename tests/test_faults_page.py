"""The page on faults shows what the live tests saw last, and leaves no error out."""

from __future__ import annotations

import re

from astronomer_remote.api.protocol import errors
from astronomer_remote.exceptions import BY_NAME
from tests.live import engine_table, fault_cases, kill_table
from tests.live.fault_cases import CASES, FAULTS_TABLE, MODES, VERSIONS

TEXT = fault_cases.PAGE.read_text()


def test_the_table_of_faults_is_the_one_that_the_results_make() -> None:
    assert FAULTS_TABLE.shown() == FAULTS_TABLE.due()
    target = {fault_cases.key(version, mode, case.name) for version in VERSIONS for mode in MODES for case in CASES}
    assert set(FAULTS_TABLE.results()) <= target


def test_the_table_of_ends_is_the_one_that_the_results_make() -> None:
    assert kill_table.KILLS_TABLE.shown() == kill_table.KILLS_TABLE.due()
    target = {kill_table.key(pair, mode, row) for pair in kill_table.PAIRS for row, mode in kill_table.ROWS}
    assert set(kill_table.KILLS_TABLE.results()) <= target


def test_the_table_of_the_engine_is_the_one_that_the_results_make() -> None:
    table = engine_table.ENGINE_TABLE
    assert table.shown() == table.due()
    target = {kill_table.key(pair, mode, row) for pair in engine_table.PAIRS for row, mode in engine_table.ROWS}
    assert set(table.results()) <= target


def test_it_says_truly_of_each_error_whether_it_is_permanent() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (\w+) \|", TEXT, re.MULTILINE)
    lines = {name.strip("`"): kind for names, kind in rows for name in names.split(", ")}
    for name, error in BY_NAME.items():
        assert lines.pop(name) == ("permanent" if issubclass(error, errors.PermanentError) else "transient")
    assert lines == {"DagRunFailed": "retried", "WaitTimeout": "retried"}
