"""Applies a change for a part of a DAG, and undoes it whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from astronomer_remote.compat import empty_operator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


@contextmanager
def setup_and_teardown(record: BaseOperator, change: BaseOperator, restore: BaseOperator) -> Iterator[None]:
    """
    Put the tasks of the ``with`` block between a change and the teardown that undoes it.

    :param record: records the state before the change.
    :param change: makes the change.
    :param restore: restores what was recorded, also if ``change`` or a task of the block failed.
    """
    record >> change
    # For the state of the DAG run, Airflow ignores either a teardown's own failure or that of the tasks before it. An
    # empty task after it lets the run fail in both cases. The label is the id without the task group's, which the new
    # task gets by itself.
    restore >> empty_operator(f"{change.label}_done")
    with restore.as_teardown(setups=[record, change]):
        yield
