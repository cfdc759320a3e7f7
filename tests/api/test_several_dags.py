"""Several DAGs are read in as few requests as there can be."""

from __future__ import annotations

from typing import Any

import pytest

from astronomer_remote.api.protocol.errors import AccessDenied, DagNotFound, InvalidSettings
from astronomer_remote.api.protocol.models import Dag
from tests.api.script import EXPERIMENTAL, V1, V2, Turn, answer, ok
from tests.api.test_deployment import meet

MISSING = answer(404, {"detail": "no"})


def listing(base: str, dag_ids: list[str], total: int, offset: int = 0) -> Turn:
    dags = [{"dag_id": dag_id, "is_paused": False} for dag_id in dag_ids]
    return Turn(f"GET {base}/dags?limit=100&offset={offset}", ok({"dags": dags, "total_entries": total}))


def known(found: dict[str, Any]) -> set[str]:
    return {dag_id for dag_id, dag in found.items() if isinstance(dag, Dag)}


@pytest.mark.parametrize("version", [V1, V2])
def test_two_dags_are_read_by_themselves(version: str) -> None:
    remote, speech = meet(version)
    turns = [Turn(f"GET {speech.base}/dags/{dag_id}", ok({"dag_id": dag_id})) for dag_id in ("a", "b")]
    assert known(remote.play(remote.deployment.dags.get_each(["a", "b"]), *turns)) == {"a", "b"}


@pytest.mark.parametrize("version", [V1, V2])
def test_more_are_read_from_the_listing_and_the_import_errors_once(version: str) -> None:
    remote, speech = meet(version)
    broken = {"filename": "d.py", "stack_trace": "NameError: x"}
    first = Turn(f"GET {speech.base}/dags/c", MISSING)
    second = Turn(f"GET {speech.base}/dags/d", MISSING)
    found = remote.play(
        remote.deployment.dags.get_each(["a", "b", "c", "d"]),
        listing(speech.base, ["z", "a", "b"], 3),
        first,
        *speech.import_errors(broken),
        second,
    )
    assert known(found) == {"a", "b"}
    for dag_id in ("c", "d"):
        error = found[dag_id]
        assert isinstance(error, DagNotFound)
        assert f"knows no DAG {dag_id!r}" in error.message
        assert (
            "It could not import 1 DAG file(s), and the DAG may be in one of them: d.py (NameError: x)" in error.message
        )


@pytest.mark.parametrize("version", [V1, V2])
def test_the_listing_is_read_no_further_than_needed(version: str) -> None:
    remote, speech = meet(version)
    names = [f"x{number}" for number in range(99)]
    found = remote.play(
        remote.deployment.dags.get_each(["a", "b", "c"]),
        listing(speech.base, [*names, "a"], 300),
        listing(speech.base, ["b", "c"], 300, offset=100),
    )
    assert known(found) == {"a", "b", "c"}


@pytest.mark.parametrize("version", [V1, V2])
def test_a_long_listing_is_not_read(version: str) -> None:
    remote, speech = meet(version)
    names = [f"x{number}" for number in range(99)]
    turns = [Turn(f"GET {speech.base}/dags/{dag_id}", ok({"dag_id": dag_id})) for dag_id in ("b", "c")]
    found = remote.play(
        remote.deployment.dags.get_each(["a", "b", "c"]), listing(speech.base, [*names, "a"], 301), *turns
    )
    assert known(found) == {"a", "b", "c"}


@pytest.mark.parametrize("version", [V1, V2])
def test_what_may_not_be_listed_or_read_or_cannot_be_a_dag_hides_no_other(version: str) -> None:
    remote, speech = meet(version)
    found = remote.play(
        remote.deployment.dags.get_each(["a", "b", "../c"]),
        Turn(f"GET {speech.base}/dags?limit=100&offset=0", answer(403, {"detail": "no"})),
        Turn(f"GET {speech.base}/dags/a", ok({"dag_id": "a"})),
        Turn(f"GET {speech.base}/dags/b", answer(403, {"detail": "no"})),
    )
    assert known(found) == {"a"}
    assert isinstance(found["b"], AccessDenied)
    assert isinstance(found["../c"], InvalidSettings)


def test_1_10_has_no_listing() -> None:
    remote, speech = meet(EXPERIMENTAL)
    turns = [Turn(f"GET {speech.base}/dags/{dag_id}/dag_runs", ok([])) for dag_id in "abc"]
    assert known(remote.play(remote.deployment.dags.get_each(["a", "b", "c"]), *turns)) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("field", "is_stale"),
    [({"is_active": False}, True), ({"is_active": True}, False), ({"is_stale": True}, True), ({}, None)],
)
def test_a_dag_that_no_file_defines_is_stale(field: dict[str, bool], is_stale: bool | None) -> None:
    remote, speech = meet(V2)
    dag = remote.play(remote.deployment.get_dag("d"), Turn(f"GET {speech.base}/dags/d", ok({"dag_id": "d", **field})))
    assert dag.is_stale is is_stale
