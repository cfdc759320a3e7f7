"""Keeps a change up for a part of a DAG, and takes it back whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from astronomer_remote.compat import empty_operator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


@contextmanager
def between(record: BaseOperator, change: BaseOperator, restore: BaseOperator) -> Iterator[None]:
    """
    Put the tasks that are made in the ``with`` block between a change and its undoing.

    :param record: notes how things are.
    :param change: changes them.
    :param restore: puts them back as was noted, also if ``change`` or a task of the block failed.
    """
    record >> change
    # Of a teardown Airflow can leave out its own failure when it tells how the DAG run ended, or else that of the
    # tasks before it. A task that comes after it, and runs nowhere, lets the run fail in either case.
    # Its label is the id without the task group's, which the new task gets for itself.
    restore >> empty_operator(f"{change.label}_done")
    with restore.as_teardown(setups=[record, change]):
        yield
