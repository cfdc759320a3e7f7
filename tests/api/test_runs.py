"""One intent, one run: triggering, adopting what is there, and what may be done to a run afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
from unittest.mock import ANY

import pytest

from astronomer_remote.api.protocol.errors import (
    Conflict,
    DagNotFound,
    DagRunAlreadyExists,
    DagRunNotFound,
    InvalidSettings,
    NotSupported,
    RemoteUnavailable,
    RequestRefused,
    UnexpectedReply,
    Unreachable,
)
from astronomer_remote.api.protocol.flow import Flow, Request, Response, TransportError
from astronomer_remote.api.protocol.ids import marked_note
from astronomer_remote.api.protocol.models import DagRun, TriggerIntent, parse_date, utc_text, utc_text_of
from astronomer_remote.api.runs.dags import PAGES_OF_IMPORT_ERRORS
from astronomer_remote.api.runs.runs import IfExists, Triggered
from tests.api.script import (
    DATE,
    EXPERIMENTAL,
    LOST,
    STABLE,
    UNSENT,
    V1,
    V1_OLD,
    V1_OLDEST,
    V2,
    V2_OLDEST,
    VERSIONS,
    ScriptedRemote,
    Speech,
    Turn,
    answer,
    ok,
    page,
    plain,
)

INTENT = TriggerIntent("d", "r")
OURS = IfExists(generated_id=True)

every_version = pytest.mark.parametrize("version", VERSIONS)
every_stable_version = pytest.mark.parametrize("version", STABLE)


def trigger(remote: ScriptedRemote, intent: TriggerIntent = INTENT) -> Flow[Triggered]:
    return remote.deployment.runs.trigger(intent)


def ensure(remote: ScriptedRemote, if_exists: IfExists = OURS, intent: TriggerIntent = INTENT) -> Flow[Triggered]:
    return remote.deployment.runs.ensure(intent, if_exists)


def meet(version: str) -> tuple[ScriptedRemote, Speech]:
    return ScriptedRemote(version=version), Speech(version)


# What is requested


@pytest.mark.parametrize(
    ("version", "body"),
    [
        (
            EXPERIMENTAL,
            {
                "run_id": "r",
                "conf": {"k": [1]},
                "execution_date": "2027-01-15T08:00:00.000001Z",
                "replace_microseconds": "false",
            },
        ),
        (V1_OLDEST, {"dag_run_id": "r", "conf": {"k": [1]}, "execution_date": "2027-01-15T08:00:00.000001Z"}),
        (V1_OLD, {"dag_run_id": "r", "conf": {"k": [1]}, "logical_date": "2027-01-15T08:00:00.000001Z"}),
        (V1, {"dag_run_id": "r", "conf": {"k": [1]}, "logical_date": "2027-01-15T08:00:00.000001Z"}),
        (V2_OLDEST, {"dag_run_id": "r", "conf": {"k": [1]}, "logical_date": "2027-01-15T08:00:00.000001Z"}),
        (V2, {"dag_run_id": "r", "conf": {"k": [1]}, "logical_date": "2027-01-15T08:00:00.000001Z"}),
    ],
)
def test_a_run_for_now_gets_the_time_of_the_request_in_every_generation(version: str, body: Any) -> None:
    remote, speech = meet(version)
    remote.clock.now += 0.000001
    run = remote.play(ensure(remote, intent=TriggerIntent("d", "r", {"k": [1]})), speech.post(body=body)).run
    assert (run.dag_id, run.run_id) == ("d", "r")
    assert run.state in ("queued", "running")
    assert run.url.startswith("https://airflow.example.com/")


def test_now_is_the_time_of_the_remote_which_does_not_start_runs_of_a_future_date() -> None:
    remote, speech = meet(V1)
    dated = ok(speech.run("seen"), date="Fri, 15 Jan 2027 07:59:00 GMT")
    remote.play(remote.deployment.get_dag_run("d", "seen"), Turn(speech.get_line("seen"), dated))
    # The remote sends whole seconds; the rest keeps the dates of runs apart that are triggered at the same time.
    remote.clock.now += 1.25
    remote.play(ensure(remote), speech.post())
    assert remote.requests[-1].body["logical_date"] == "2027-01-15T07:59:00.250000Z"
    dated = ok(speech.run("seen"), date="Fri, 15 Jan 2027 08:00:01 GMT")
    remote.play(remote.deployment.get_dag_run("d", "seen"), Turn(speech.get_line("seen"), dated))
    remote.clock.now += 0.5
    remote.play(ensure(remote), speech.post())
    assert remote.requests[-1].body["logical_date"] == "2027-01-15T08:00:01.750000Z"


def triggered(remote: ScriptedRemote, speech: Speech, **given: Any) -> Any:
    """The body that triggers a run without an id of its own."""

    def reply(request: Request) -> Response:
        run_id = request.body[speech.id_field]
        return ok({"execution_date": DATE, "run_id": run_id} if speech.experimental else speech.run(run_id))

    remote.drive(remote.deployment.trigger_dag_run("d", **given), reply)
    return remote.requests[-1].body


@pytest.mark.parametrize("given", [{"logical_date": None}, {"run_after": DATE}, {"partition_key": "p"}])
def test_a_run_of_airflow_3_has_no_date_if_that_is_said_or_it_is_for_later(given: dict[str, Any]) -> None:
    assert triggered(*meet(V2), **given)["logical_date"] is None


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1_OLDEST, V1])
def test_a_run_of_an_earlier_generation_always_has_a_date(version: str) -> None:
    body = triggered(*meet(version), logical_date=None)
    assert body["logical_date" if version == V1 else "execution_date"] == "2027-01-15T08:00:00Z"


@every_stable_version
def test_a_date_of_our_own_making_that_is_taken_is_followed_by_another(version: str) -> None:
    remote, speech = meet(version)
    refusal = page(500) if version == V1_OLDEST else speech.exists()
    assert not remote.play(ensure(remote), speech.post(refusal), speech.get(), speech.post()).existed
    first, second = (request.body for request in remote.requests if request.method == "POST")
    field = "execution_date" if version == V1_OLDEST else "logical_date"
    assert first[field] != second[field]
    assert first["dag_run_id"] == second["dag_run_id"]


@pytest.mark.parametrize(
    ("version", "field"),
    [(EXPERIMENTAL, "execution_date"), (V1_OLDEST, "execution_date"), (V1_OLD, "logical_date"), (V2, "logical_date")],
)
def test_a_date_is_sent_in_the_field_that_the_version_knows_and_in_utc(version: str, field: str) -> None:
    remote, speech = meet(version)
    flow = remote.deployment.trigger_dag_run("d", run_id="r", logical_date="2026-11-22T09:00:00+02:00")
    remote.play(flow, speech.get(), speech.post())
    assert remote.requests[-1].body[field] == DATE


def test_everything_a_version_knows_of_a_trigger_is_sent() -> None:
    everything: dict[str, Any] = {"note": "n", "data_interval": (DATE, DATE)}
    sent = {"conf": {}, "note": "n", "data_interval_start": DATE, "data_interval_end": DATE}
    body = triggered(*meet(V1), logical_date=DATE, **everything)
    assert body == sent | {"dag_run_id": ANY, "logical_date": DATE}
    body = triggered(*meet(V2), run_after=DATE, partition_key="p", **everything)
    assert body == sent | {
        "dag_run_id": ANY,
        "logical_date": None,
        "run_after": DATE,
        "partition_key": "p",
    }


@pytest.mark.parametrize(
    ("version", "field", "value"),
    [
        (EXPERIMENTAL, "note", "n"),
        (EXPERIMENTAL, "data_interval", (DATE, DATE)),
        (V1_OLDEST, "note", "n"),
        ("2.8.4", "data_interval", (DATE, DATE)),
        (V1, "run_after", DATE),
        (V1, "partition_key", "p"),
        (V2_OLDEST, "partition_key", "p"),
    ],
)
def test_what_a_version_cannot_do_is_refused_before_any_request(version: str, field: str, value: Any) -> None:
    remote, _ = meet(version)
    with pytest.raises(NotSupported, match=r"Airflow .* cannot"):
        remote.play(remote.deployment.trigger_dag_run("d", run_id="r", **{field: value}))


@pytest.mark.parametrize("bad", ["", " ", "a/b", "..", "~", "a\nb", "x" * 251, None])
@every_version
def test_an_id_that_could_reach_another_endpoint_is_refused_before_any_request(version: str, bad: Any) -> None:
    remote, _ = meet(version)
    for intent in (TriggerIntent(bad, "r"), TriggerIntent("d", bad)):
        with pytest.raises(InvalidSettings):
            remote.play(trigger(remote, intent))


@every_version
def test_a_run_without_an_id_gets_a_unique_one(version: str) -> None:
    remote, speech = meet(version)
    for _ in range(2):
        triggered(remote, speech)
    ids = {request.body[speech.id_field] for request in remote.requests}
    assert len(ids) == 2
    assert all(run_id.startswith("remote__") for run_id in ids)


@pytest.mark.parametrize("conf", [{"d": object()}, {"n": float("nan")}])
def test_conf_that_is_not_json_is_refused_before_any_request(conf: Any) -> None:
    with pytest.raises(InvalidSettings, match="conf must be JSON"):
        ScriptedRemote().play(ScriptedRemote().deployment.trigger_dag_run("d", conf=conf))


@pytest.mark.parametrize("interval", [("yesterday", DATE), (DATE, 7)])
def test_dates_that_are_none_are_refused_before_any_request(interval: Any) -> None:
    with pytest.raises(InvalidSettings):
        ScriptedRemote().play(ScriptedRemote().deployment.trigger_dag_run("d", data_interval=interval))


# Exactly once


@every_version
def test_a_run_that_was_made_at_once_is_new(version: str) -> None:
    remote, speech = meet(version)
    triggered = remote.play(ensure(remote), speech.post())
    assert (triggered.run.run_id, triggered.existed) == ("r", False)


MAYBE_MADE = [LOST, page(500), plain(502, ""), plain(503, ""), plain(504, ""), page(200), Response(200, {}, b"{")]


@pytest.mark.parametrize("failure", MAYBE_MADE)
@every_version
def test_a_lost_reply_to_the_triggering_post_is_followed_by_a_lookup(
    version: str, failure: Response | TransportError
) -> None:
    remote, speech = meet(version)
    triggered = remote.play(ensure(remote), speech.post(failure), speech.get(speech.run()))
    assert (triggered.run.run_id, triggered.run.state, triggered.existed) == ("r", "running", False)


@pytest.mark.parametrize("failure", MAYBE_MADE)
@every_version
def test_a_run_that_was_not_made_after_all_is_requested_again_under_the_same_id(
    version: str, failure: Response | TransportError
) -> None:
    remote, speech = meet(version)
    triggered = remote.play(ensure(remote), speech.post(failure), speech.get(), speech.post())
    assert not triggered.existed
    assert [request.body[speech.id_field] for request in remote.requests if request.method == "POST"] == ["r", "r"]
    assert len(remote.sleeps) == 1


@pytest.mark.parametrize("failure", [UNSENT, plain(429, "")])
@every_version
def test_a_post_that_did_nothing_is_repeated_without_a_lookup(version: str, failure: Response | TransportError) -> None:
    remote, speech = meet(version)
    assert not remote.play(ensure(remote), speech.post(failure), speech.post()).existed


@every_version
def test_a_lookup_that_fails_for_now_does_not_end_the_trigger(version: str) -> None:
    remote, speech = meet(version)
    blocked = Turn(speech.get_line(), page(200))
    triggered = remote.play(
        ensure(remote), speech.post(LOST), blocked, speech.post(speech.exists()), speech.get(speech.run())
    )
    assert not triggered.existed


@every_version
def test_no_budget_of_retries_starts_over_inside_another(version: str) -> None:
    remote, speech = meet(version)
    with pytest.raises(UnexpectedReply):
        remote.play(ensure(remote), *[speech.post(page(200)), Turn(speech.get_line(), page(200))] * 26)


@every_version
def test_the_trigger_fails_when_the_remote_stays_unreachable(version: str) -> None:
    remote, speech = meet(version)
    with pytest.raises(Unreachable, match="No reply"):
        remote.play(ensure(remote), *[speech.post(LOST), speech.get()] * 26)
    assert 160 < sum(remote.sleeps) < 180


@every_version
def test_a_conflict_is_an_answer_and_the_run_that_is_there_is_adopted(version: str) -> None:
    remote, speech = meet(version)
    triggered = remote.play(ensure(remote), speech.post(speech.exists()), speech.get(speech.run()))
    assert (triggered.run.run_id, triggered.existed) == ("r", True)


@every_stable_version
def test_a_conflict_with_nothing_to_be_found_passes_or_is_a_conflict_at_last(version: str) -> None:
    remote, speech = meet(version)
    with pytest.raises(Conflict):
        remote.play(ensure(remote), *[speech.post(speech.exists()), speech.get()] * 6)
    # A copy of the remote's database that is 5 s behind does not show a run that is there.
    assert sum(remote.sleeps) > 10
    remote, speech = meet(version)
    turns = [*[speech.post(speech.exists()), speech.get()] * 3, *conflict(speech, "running")]
    assert remote.play(ensure(remote), *turns).run.state == "running"


def test_any_other_refusal_is_final() -> None:
    for version, reply in (
        (EXPERIMENTAL, answer(400, {"error": "Bad conf"})),
        (V2, answer(400, {"detail": "Bad conf"})),
    ):
        remote, speech = meet(version)
        with pytest.raises(RequestRefused, match="The remote said: Bad conf"):
            remote.play(ensure(remote), speech.post(reply))


# Dates in each other's way

DATED = TriggerIntent("d", "r", logical_date=DATE)


@every_version
def test_another_run_of_the_same_date_is_found_when_the_date_collides(version: str) -> None:
    remote, speech = meet(version)
    # 1.10 and 2.0 break on a date that is taken, later ones say 409.
    refusal = page(500) if version in (EXPERIMENTAL, V1_OLDEST) else speech.exists()
    other = speech.run("scheduled__x", "success", "2026-11-22T07:00:00+00:00")
    with pytest.raises(DagRunAlreadyExists, match=r"'scheduled__x' of logical date 2026-11-22T07:00:00") as failure:
        remote.play(ensure(remote, intent=DATED), speech.post(refusal), speech.get(other), speech.of_date(other))
    assert "in state success" in str(failure.value)
    assert "https://airflow.example.com/" in str(failure.value)


@every_stable_version
def test_our_own_run_is_found_even_if_the_remote_lists_others_of_its_date(version: str) -> None:
    remote, speech = meet(version)
    listed = speech.of_date(speech.run("other"), speech.run("r"))
    triggered = remote.play(trigger(remote, DATED), speech.post(LOST), speech.get(), listed)
    assert (triggered.run.run_id, triggered.existed) == ("r", False)


@every_version
def test_neither_run_nor_date_there_means_another_request(version: str) -> None:
    remote, speech = meet(version)
    turns = speech.post(LOST), speech.get(), speech.of_date(), speech.post()
    assert remote.play(ensure(remote, intent=DATED), *turns).run.run_id == "r"


def test_each_attempt_on_1_10_has_a_date_of_its_own_so_that_nobody_else_can_keep_it() -> None:
    remote, speech = meet(EXPERIMENTAL)
    remote.play(ensure(remote), speech.post(page(500)), speech.get(), speech.post())
    dates = [request.body["execution_date"] for request in remote.requests if request.method == "POST"]
    assert dates[0] != dates[1]


def test_1_10_can_be_left_to_choose_the_date_itself() -> None:
    dialect = ScriptedRemote(version=EXPERIMENTAL).client.dialect()
    with pytest.raises(StopIteration) as end:
        next(dialect)
    assert end.value.value.trigger(INTENT).request.body == {"run_id": "r", "conf": {}}


def test_on_1_10_a_strange_run_that_has_the_date_of_our_own_making_is_not_in_the_way() -> None:
    remote, speech = meet(EXPERIMENTAL)
    stranger = speech.run("stranger", date="2027-01-15T08:00:00+00:00")
    triggered = remote.play(ensure(remote), speech.post(page(500)), speech.get(stranger), speech.post())
    assert triggered.run.run_id == "r"


# What to do about a run that is there


def conflict(speech: Speech, state: str, run_id: str = "r") -> list[Turn]:
    return [speech.post(speech.exists(run_id), run_id), speech.get(speech.run(run_id, state), run_id=run_id)]


def clear_turn(speech: Speech, only_failed: bool = False) -> Turn:
    if speech.numbers >= (3,):
        return Turn(f"POST {speech.runs_path}/r/clear", ok({}), {"dry_run": False, "only_failed": only_failed})
    if speech.numbers >= (2, 4) and not only_failed:
        return Turn(f"POST {speech.runs_path}/r/clear", ok({}), {"dry_run": False})
    which: dict[str, Any] = {"dag_run_id": "r"}
    if speech.numbers < (2, 4):
        which = {"start_date": DATE, "end_date": DATE}
    body = {
        "dry_run": False,
        "only_failed": only_failed,
        "only_running": False,
        "reset_dag_runs": True,
        "include_subdags": True,
        **which,
    }
    return Turn(f"POST {speech.base}/dags/d/clearTaskInstances", ok({"task_instances": []}), body)


@every_version
def test_a_strange_run_of_a_chosen_id_is_in_the_way(version: str) -> None:
    remote, speech = meet(version)
    with pytest.raises(DagRunAlreadyExists, match="Give another run id"):
        remote.play(remote.deployment.trigger_dag_run("d", run_id="r"), speech.get(speech.run(state="running")))


@every_version
def test_a_strange_run_of_a_chosen_id_is_not_taken_for_ours_when_a_reply_is_lost(version: str) -> None:
    remote, speech = meet(version)
    with pytest.raises(DagRunAlreadyExists, match="Give another run id"):
        # It is looked for before the first request that could make one.
        remote.play(ensure(remote, IfExists()), speech.get(speech.run(state="running")))
    remote, speech = meet(version)
    turns = [speech.get(), speech.post(LOST), speech.get(speech.run(state="queued"))]
    assert not remote.play(ensure(remote, IfExists()), *turns).existed


MARK = "0123456789abcdef"
MARKED = TriggerIntent("d", "r", mark=MARK)
OUR_DATE = "2026-11-22T07:00:00.098098Z"
"""One that is chosen for MARK; any second of it will do."""
OF_TASK = IfExists(mark=MARK)
NOTED = [V1, V2_OLDEST, V2]
"""Versions whose runs can have notes."""


def ours(speech: Speech, state: str = "running", **more: Any) -> dict[str, Any]:
    """A run of a chosen id that shows that the intent made it."""
    if speech.version in NOTED:
        return speech.run(state=state, **{"note": f"by hand\n[astronomer_remote {MARK}]", **more})
    return speech.run(state=state, date=OUR_DATE, **more)


@every_version
def test_a_run_of_a_chosen_id_is_marked_in_its_date_and_where_it_can_have_one_in_its_note(version: str) -> None:
    remote, speech = meet(version)
    remote.clock.now += 0.5
    remote.play(ensure(remote, OF_TASK, MARKED), speech.get(), speech.post())
    body = remote.requests[-1].body
    assert (body.get("logical_date") or body["execution_date"]) == "2027-01-15T08:00:00.098098Z"
    assert body.get("note") == (f"[astronomer_remote {MARK}]" if version in NOTED else None)
    # Never one that is yet to come: Airflow 2 does not start such runs.
    remote.clock.now -= 0.45
    remote.play(ensure(remote, OF_TASK, MARKED), speech.get(), speech.post())
    body = remote.requests[-1].body
    assert (body.get("logical_date") or body["execution_date"]) == "2027-01-15T07:59:59.098098Z"


@pytest.mark.parametrize("note", ["a note", "a note\n[astronomer_remote fedcba9876543210]"])
def test_the_mark_is_the_last_line_of_the_note_and_the_only_one(note: str) -> None:
    assert marked_note(note, MARK) == f"a note\n[astronomer_remote {MARK}]"


def test_a_note_without_room_for_the_mark_is_left_as_it_is() -> None:
    assert marked_note("x" * 963, MARK) != "x" * 963
    assert marked_note("x" * 964, MARK) == "x" * 964
    remote, speech = meet(V2)
    full = replace(MARKED, note="x" * 1000, dated_now=False)
    turns = [speech.get(), speech.post(LOST), speech.get(speech.run(state="queued", date=None))]
    # Nothing can show whose it is: it was not there before, and a request for it was lost.
    assert not remote.play(ensure(remote, OF_TASK, full), *turns).existed
    assert remote.requests[1].body["note"] == full.note


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("state", ["queued", "running", "success", "failed", "a_new_state"])
@every_version
def test_every_attempt_with_a_chosen_id_adopts_the_run_with_its_mark(version: str, state: str, attempt: int) -> None:
    remote, speech = meet(version)
    found = speech.get(ours(speech, state))
    triggered = remote.play(ensure(remote, replace(OF_TASK, attempt=attempt), MARKED), found)
    assert (triggered.run.state, triggered.existed) == (state, True)


STRANGE = [{}, {"note": "by hand"}, {"note": "[astronomer_remote fedcba9876543210]"}]


@pytest.mark.parametrize("version", NOTED)
def test_a_run_of_a_date_that_the_user_chose_is_ours_by_its_note_only(version: str) -> None:
    dated = replace(MARKED, logical_date=DATE)
    _, speech = meet(version)
    without_mark = speech.get(speech.run())
    for turns in ([without_mark], [speech.get(), speech.post(LOST), without_mark]):
        remote, _ = meet(version)
        with pytest.raises(DagRunAlreadyExists):
            remote.play(ensure(remote, OF_TASK, dated), *turns)


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("strange", STRANGE)
@every_version
def test_no_attempt_takes_a_run_without_its_mark_for_its_own(
    version: str, strange: dict[str, Any], attempt: int
) -> None:
    remote, speech = meet(version)
    if_exists = replace(OF_TASK, attempt=attempt)
    said = "Nothing of it shows that an earlier attempt" if attempt == 2 else "in state success: https://[^ ]* . Give"
    with pytest.raises(DagRunAlreadyExists, match=said):
        remote.play(ensure(remote, if_exists, MARKED), speech.get(speech.run(state="success", **strange)))


@pytest.mark.parametrize("failure", [LOST, None])
@every_version
def test_a_run_that_another_user_makes_at_the_same_time_is_not_taken_for_ours(
    version: str, failure: TransportError | None
) -> None:
    remote, speech = meet(version)
    turns = [speech.get(), speech.post(failure or speech.exists()), speech.get(speech.run(note="by hand"))]
    with pytest.raises(DagRunAlreadyExists):
        remote.play(ensure(remote, OF_TASK, MARKED), *turns)


@every_version
def test_a_request_that_a_gateway_sent_twice_is_not_refused(version: str) -> None:
    remote, speech = meet(version)
    turns = [speech.get(), speech.post(speech.exists()), speech.get(ours(speech, "queued"))]
    assert not remote.play(ensure(remote, OF_TASK, MARKED), *turns).existed


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1_OLDEST, V1_OLD])
def test_where_nothing_can_show_whose_a_run_is_no_attempt_takes_it(version: str) -> None:
    remote, speech = meet(version)
    intent = replace(MARKED, logical_date=DATE)
    with pytest.raises(DagRunAlreadyExists, match="Nothing of it shows"):
        remote.play(ensure(remote, replace(OF_TASK, attempt=2), intent), speech.get(speech.run()))


def test_a_date_that_cannot_be_read_is_no_mark() -> None:
    remote, speech = meet(V2)
    with pytest.raises(DagRunAlreadyExists):
        remote.play(ensure(remote, OF_TASK, MARKED), speech.get(speech.run(date="soon")))
    with pytest.raises(DagRunAlreadyExists):
        remote.play(ensure(remote, OF_TASK, MARKED), speech.get(speech.run(date=None)))


@pytest.mark.parametrize("on_retry", ["new_run", "clear", "clear_failed"])
@pytest.mark.parametrize("state", ["queued", "running", "success"])
@every_version
def test_our_own_run_that_has_not_failed_is_adopted_whatever_a_retry_does(
    version: str, state: str, on_retry: str
) -> None:
    remote, speech = meet(version)
    if_exists = IfExists(generated_id=True, on_retry=on_retry)
    assert remote.play(ensure(remote, if_exists), *conflict(speech, state)).run.state == state


@every_version
def test_our_own_run_that_has_failed_is_followed_by_a_new_one_of_the_next_number(version: str) -> None:
    remote, speech = meet(version)
    failed = [speech.get(speech.run(run_id, "failed"), run_id=run_id) for run_id in ("r", "r.2")]
    triggered = remote.play(
        ensure(remote, replace(OURS, attempt=3)), *failed, speech.get(run_id="r.3"), speech.post(run_id="r.3")
    )
    assert (triggered.run.run_id, triggered.existed) == ("r.3", False)


@every_version
def test_there_are_no_more_runs_of_an_intent_than_attempts_at_it(version: str) -> None:
    remote, speech = meet(version)
    failed = [speech.get(speech.run(run_id, "failed"), run_id=run_id) for run_id in ("r", "r.2")]
    triggered = remote.play(ensure(remote, replace(OURS, attempt=2)), *failed)
    assert (triggered.run.run_id, triggered.existed) == ("r.2", True)


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("failure", [LOST, plain(504, ""), None])
@every_version
def test_a_run_that_this_attempt_requested_is_its_own_whatever_its_state(
    version: str, failure: Response | TransportError | None, attempt: int
) -> None:
    remote, speech = meet(version)
    before = [speech.get()] if attempt == 2 else []
    turns = [*before, speech.post(failure or speech.exists()), speech.get(speech.run(state="failed"))]
    triggered = remote.play(ensure(remote, replace(OURS, attempt=attempt)), *turns)
    assert (triggered.run.run_id, triggered.run.state) == ("r", "failed")


@every_version
def test_a_later_run_of_our_own_that_still_runs_is_adopted(version: str) -> None:
    remote, speech = meet(version)
    turns = [speech.get(speech.run(state="failed")), speech.get(speech.run("r.2"), run_id="r.2")]
    assert remote.play(ensure(remote, replace(OURS, attempt=3)), *turns).run.run_id == "r.2"


@pytest.mark.parametrize("on_retry", ["clear", "clear_failed"])
@every_stable_version
def test_our_own_run_that_has_failed_is_cleared_if_on_retry_says_so(version: str, on_retry: str) -> None:
    remote, speech = meet(version)
    triggered = remote.play(
        ensure(remote, IfExists(generated_id=True, attempt=2, on_retry=on_retry)),
        speech.get(speech.run(state="failed")),
        clear_turn(speech, only_failed=on_retry == "clear_failed"),
        speech.get(speech.run(state="queued")),
    )
    assert (triggered.run.run_id, triggered.run.state, triggered.existed) == ("r", "queued", True)


def test_which_states_have_failed_is_for_the_caller_to_say() -> None:
    remote, speech = meet(V2)
    if_exists = IfExists(generated_id=True, attempt=2, failed_states=("success",))
    turns = [speech.get(speech.run(state="success")), speech.get(run_id="r.2"), speech.post(run_id="r.2")]
    assert remote.play(ensure(remote, if_exists), *turns).run.run_id == "r.2"


@pytest.mark.parametrize("state", ["running", "success", "failed"])
@every_stable_version
def test_a_strange_run_is_cleared_and_taken_over_with_reset(version: str, state: str) -> None:
    remote, speech = meet(version)
    triggered = remote.play(
        ensure(remote, IfExists(reset=True)),
        speech.get(speech.run(state=state)),
        clear_turn(speech),
        speech.get(speech.run(state="queued")),
    )
    assert (triggered.run.state, triggered.existed) == ("queued", True)


def note_turn(speech: Speech, run_id: str = "r", reply: Response | TransportError | None = None) -> list[Turn]:
    """The request that marks a run which was taken over, where that can be done."""
    if speech.version not in NOTED:
        return []
    path = f"{speech.runs_path}/{run_id}" + ("/setNote" if speech.version == V1 else "")
    return [Turn(f"PATCH {path}", reply or ok({}), {"note": f"[astronomer_remote {MARK}]"})]


@every_stable_version
def test_a_run_is_marked_after_it_was_taken_over(version: str) -> None:
    remote, speech = meet(version)
    triggered = remote.play(
        ensure(remote, replace(OF_TASK, reset=True), MARKED),
        speech.get(speech.run(state="failed")),
        clear_turn(speech),
        speech.get(speech.run(state="queued")),
        *note_turn(speech),
    )
    assert triggered.run.note == (f"[astronomer_remote {MARK}]" if version in NOTED else None)


@pytest.mark.parametrize("version", NOTED)
def test_a_run_that_is_taken_over_keeps_its_note_and_gets_no_mark_that_does_not_fit(version: str) -> None:
    remote, speech = meet(version)
    taken = ensure(remote, replace(OF_TASK, reset=True), MARKED)
    turns = [speech.get(speech.run(note="by hand")), clear_turn(speech), speech.get(speech.run(note="by hand"))]
    (mark,) = note_turn(speech)
    marked = f"by hand\n[astronomer_remote {MARK}]"
    assert remote.play(taken, *turns, replace(mark, body={"note": marked})).run.note == marked
    full = "x" * 1000
    taken = ensure(remote, replace(OF_TASK, reset=True), MARKED)
    turns = [speech.get(speech.run(note=full)), clear_turn(speech), speech.get(speech.run(note=full))]
    assert remote.play(taken, *turns).run.note == full


@pytest.mark.parametrize("version", NOTED)
def test_a_run_that_cannot_be_marked_is_taken_over_all_the_same(version: str, caplog: pytest.LogCaptureFixture) -> None:
    remote, speech = meet(version)
    triggered = remote.play(
        ensure(remote, replace(OF_TASK, reset=True), MARKED),
        speech.get(speech.run(state="failed")),
        clear_turn(speech),
        speech.get(speech.run(state="queued")),
        *note_turn(speech, reply=answer(403, {"detail": "Forbidden"})),
    )
    assert (triggered.run.state, triggered.run.note) == ("queued", None)
    (record,) = caplog.records
    assert record.getMessage().startswith("Run r could not be marked, so that a retry would clear it again: ")
    assert "403" in record.getMessage()


@every_stable_version
def test_a_run_taken_over_is_not_reset_again_by_a_further_attempt_unless_it_failed(version: str) -> None:
    if_exists = replace(OF_TASK, reset=True, attempt=2)
    remote, speech = meet(version)
    assert remote.play(ensure(remote, if_exists, MARKED), speech.get(ours(speech))).run.state == "running"
    remote, speech = meet(version)
    turns = [speech.get(ours(speech, "failed")), clear_turn(speech), speech.get(speech.run(state="queued"))]
    if version in (V1_OLDEST, V1_OLD):
        body = {**turns[1].body, "start_date": OUR_DATE, "end_date": OUR_DATE}
        turns[1] = replace(turns[1], body=body)
    assert remote.play(ensure(remote, if_exists, MARKED), *turns).run.state == "queued"


@every_stable_version
def test_a_run_that_an_earlier_attempt_did_not_take_over_is_taken_over_by_this_one(version: str) -> None:
    remote, speech = meet(version)
    turns = [
        speech.get(speech.run(state="success")),
        clear_turn(speech),
        speech.get(speech.run(state="queued")),
        *note_turn(speech),
    ]
    assert remote.play(ensure(remote, replace(OF_TASK, reset=True, attempt=2), MARKED), *turns).run.state == "queued"


@pytest.mark.parametrize("version", NOTED)
def test_a_run_of_another_id_but_the_same_date_is_taken_over_as_well(version: str) -> None:
    if_exists = IfExists(generated_id=True, mark=MARK, reset=True, attempt=2)
    remote, speech = meet(version)
    marked = speech.run("other", "success", note=f"[astronomer_remote {MARK}]")
    turns = [speech.get(), speech.post(speech.exists()), speech.get(), speech.of_date(marked)]
    assert remote.play(ensure(remote, if_exists, DATED), *turns).run.run_id == "other"
    remote, speech = meet(version)
    clear = replace(clear_turn(speech), expected=f"POST {speech.runs_path}/other/clear")
    turns = [speech.get(), speech.post(speech.exists()), speech.get(), speech.of_date(speech.run("other", "success"))]
    again = speech.get(speech.run("other", "queued"), run_id="other")
    triggered = remote.play(ensure(remote, if_exists, DATED), *turns, clear, again, *note_turn(speech, "other"))
    assert (triggered.run.run_id, triggered.run.state) == ("other", "queued")


def test_1_10_refuses_to_clear() -> None:
    remote, speech = meet(EXPERIMENTAL)
    with pytest.raises(NotSupported, match=r"Airflow 1.10's experimental API cannot clear a DAG run"):
        remote.play(ensure(remote, IfExists(reset=True)), speech.get(speech.run(state="running")))


# What keeps a run from being made


@every_version
def test_the_error_of_an_unknown_dag_names_the_broken_dag_files(version: str) -> None:
    remote, speech = meet(version)
    files = [{"filename": f"other_{n}.py", "stack_trace": None} for n in range(4)]
    broken = {"filename": "x.py", "stack_trace": 'File "d.py"\n  SyntaxError: invalid syntax\n'}
    with pytest.raises(DagNotFound, match=r"knows no DAG 'd', or does not show it to this account") as failure:
        remote.play(trigger(remote), speech.post(speech.no_dag()), *speech.import_errors(*files, broken))
    lines = "The remote does not list broken DAG files"
    if not speech.experimental:
        lines = "could not import 5 DAG file(s), and the DAG may be in one of them: x.py (SyntaxError: invalid syntax)"
        assert "; other_0.py (no reason given); other_1.py (no reason given). A new DAG file" in str(failure.value)
    assert lines in str(failure.value)
    assert (failure.value.status, failure.value.method, failure.value.path) == (404, "POST", speech.runs_path)
    assert failure.value.detail


def test_an_unknown_dag_without_broken_files_says_so() -> None:
    remote, speech = meet(V2)
    with pytest.raises(DagNotFound, match=r"account\. It reports no broken DAG file\. A new"):
        remote.play(trigger(remote), speech.post(speech.no_dag()), *speech.import_errors())


def test_only_so_many_pages_of_broken_dag_files_are_looked_through() -> None:
    remote, speech = meet(V2)

    def reply(request: Request) -> Response:
        if request.method == "POST":
            return speech.no_dag()
        first = request.query.get("offset", 0)
        files = [{"filename": f"f{first + number}.py", "stack_trace": "x"} for number in range(request.query["limit"])]
        return ok({"import_errors": files, "total_entries": 10_000})

    with pytest.raises(DagNotFound, match="could not import 10000 DAG file"):
        remote.drive(trigger(remote), reply)
    assert len(remote.requests) == 1 + PAGES_OF_IMPORT_ERRORS


@pytest.mark.parametrize(
    ("reply", "times"), [(answer(403, {"detail": "Forbidden"}), 1), (page(200), 6), (answer(404, {}), 6)]
)
def test_what_keeps_us_from_the_broken_files_does_not_hide_the_unknown_dag(reply: Response, times: int) -> None:
    remote, speech = meet(V2)
    broken = Turn("GET /api/v2/importErrors?limit=100", reply)
    with pytest.raises(DagNotFound, match=r"The remote does not list broken DAG files\. A new DAG file may not"):
        remote.play(trigger(remote), speech.post(speech.no_dag()), *[broken] * times)


def test_a_run_id_of_odd_characters_that_breaks_airflow_2_is_named() -> None:
    remote, speech = meet(V1)
    intent = TriggerIntent("d", "r ö")
    with pytest.raises(RequestRefused, match=r"broke on the run id 'r ö'") as failure:
        remote.play(
            trigger(remote, intent), speech.post(page(500)), Turn(f"GET {speech.runs_path}/r%20%C3%B6", speech.no_run())
        )
    assert (failure.value.status, failure.value.method, failure.value.path) == (500, "POST", speech.runs_path)


def test_a_run_id_of_odd_characters_is_not_blamed_for_a_gateways_failure() -> None:
    remote, speech = meet(V1)
    look_up = Turn(f"GET {speech.runs_path}/r%20", speech.no_run())
    with pytest.raises(RemoteUnavailable):
        remote.play(trigger(remote, TriggerIntent("d", "r ")), *[speech.post(page(502)), look_up] * 26)


BREAKING = ["2.3.4", "2.4.3", "2.5.3", "2.8.4"]
"""Versions that answer a conf which a param refuses with an error page; 2.2, 2.9 and later ones say what is wrong."""
PARAMS = {
    "any": {"__class": "airflow.models.param.Param", "description": None, "schema": {}, "value": 5},
    "n": {
        "__class": "airflow.models.param.Param",
        "description": None,
        "schema": {"minimum": 1, "type": "integer"},
        "value": 3,
    },
}
"""As 2.3.4 sends them."""


def details_turn(speech: Speech, reply: Response | None = None) -> Turn:
    return Turn(f"GET {speech.base}/dags/d/details", reply or ok({"dag_id": "d", "params": PARAMS}))


@pytest.mark.parametrize("version", BREAKING)
def test_a_conf_that_a_param_refuses_is_named_where_airflow_breaks_on_it(version: str) -> None:
    remote, speech = meet(version)
    intent = TriggerIntent("d", "r", {"n": "x"})
    with pytest.raises(RequestRefused, match=r"Param 'n' has the value 'x', and its schema wants type 'integer'"):
        remote.play(trigger(remote, intent), speech.post(page(500)), speech.get(), details_turn(speech))


def test_a_conf_that_a_param_refuses_is_named_whenever_the_remote_first_breaks_on_it() -> None:
    remote, speech = meet("2.8.4")
    # A gateway has no answer at first, and the run cannot be looked for at once when the remote has broken.
    unread = Turn(f"GET {speech.runs_path}/r", plain(503, ""))
    turns = [speech.post(plain(503, "")), speech.get(), speech.post(page(500)), unread]
    with pytest.raises(RequestRefused, match=r"Param 'n' has the value 'x'") as refused:
        remote.play(trigger(remote, TriggerIntent("d", "r", {"n": "x"})), *turns, details_turn(speech))
    assert (refused.value.status, refused.value.method, refused.value.path) == (500, "POST", speech.runs_path)


def test_params_are_read_again_if_the_remote_did_not_answer() -> None:
    remote, speech = meet("2.8.4")
    broken = [speech.post(page(500)), speech.get()]
    turns = [*broken, details_turn(speech, plain(429, "")), *broken]
    with pytest.raises(RequestRefused, match=r"Param 'n' has the value 'x'"):
        remote.play(trigger(remote, TriggerIntent("d", "r", {"n": "x"})), *turns, details_turn(speech))


def test_params_are_read_once_however_often_the_remote_breaks() -> None:
    remote, speech = meet("2.8.4")
    broken = [speech.post(page(500)), speech.get()]
    turns = [*broken, details_turn(speech), *broken, *broken, speech.post()]
    assert not remote.play(trigger(remote), *turns).existed


@pytest.mark.parametrize("details", [None, answer(404, {"detail": None}), page(200), ok({"params": None})])
def test_an_error_page_of_another_cause_is_retried_and_says_what_it_may_be(details: Response | None) -> None:
    remote, speech = meet("2.8.4")
    broken = [speech.post(page(500)), speech.get()]
    with pytest.raises(RemoteUnavailable, match="if a param of the DAG refuses the conf"):
        remote.play(trigger(remote), *broken, details_turn(speech, details), *broken * 25)


@pytest.mark.parametrize("version", [V1_OLDEST, V1, V2])
def test_an_error_page_of_other_versions_is_not_the_confs_fault(version: str) -> None:
    remote, speech = meet(version)
    turns = [speech.post(page(500)), speech.get(), speech.post()]
    assert not remote.play(trigger(remote), *turns).existed


# Reading and changing runs


@every_version
def test_a_run_is_read_by_its_id(version: str) -> None:
    remote, speech = meet(version)
    run = remote.play(
        remote.deployment.get_dag_run("d", "r"), speech.get(speech.run("other"), speech.run(state="success"))
    )
    assert (run.dag_id, run.run_id, run.state, run.logical_date, run.finished) == ("d", "r", "success", DATE, True)
    assert run.as_dict()["run_id"] == "r"


def test_a_run_of_airflow_3_may_have_no_date() -> None:
    remote, speech = meet(V2)
    assert remote.play(remote.deployment.get_dag_run("d", "r"), speech.get(speech.run(date=None))).logical_date is None


@pytest.mark.parametrize(
    ("version", "url"),
    [
        (EXPERIMENTAL, "/graph?dag_id=d&execution_date=2026-11-22T07%3A00%3A00Z"),
        (V1_OLD, "/graph?dag_id=d&execution_date=2026-11-22T07%3A00%3A00Z"),
        (V1, "/dags/d/grid?dag_run_id=r%2B1"),
        (V2, "/dags/d/runs/r%2B1"),
    ],
)
def test_a_run_has_a_link_to_its_page(version: str, url: str) -> None:
    remote, speech = meet(version)
    run = speech.run("r+1")
    turn = speech.get(run) if speech.experimental else Turn(f"GET {speech.runs_path}/r%2B1", ok(run))
    found = remote.play(remote.deployment.get_dag_run("d", "r+1"), turn)
    assert found.url == f"https://airflow.example.com{url}"


def runs_body(speech: Speech, *runs: Any, total: int | None = None) -> Response:
    if speech.experimental:
        return ok(list(runs))
    return ok({"dag_runs": list(runs), "total_entries": len(runs) if total is None else total})


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1_OLD, V1, V2_OLDEST, V2])
def test_the_newest_run_is_requested_as_such(version: str) -> None:
    remote, speech = meet(version)
    runs = [speech.run("newest", date="2026-11-21T07:00:00Z"), speech.run("old")]
    if speech.experimental:
        # The dates do not show which was made last.
        runs = [runs[1] | {"id": 1}, runs[0] | {"id": 3}, speech.run("older", date="2026-11-23T07:00:00Z") | {"id": 2}]
    newest = remote.play(remote.deployment.get_newest_dag_run("d"), speech.newest(*runs))
    assert newest is not None
    assert newest.run_id == "newest"


@pytest.mark.parametrize("version", STABLE[1:])
def test_a_run_that_is_planned_for_later_is_not_the_newest(version: str) -> None:
    remote, speech = meet(version)
    tomorrow = utc_text(datetime.fromtimestamp(remote.clock.now + 86_400, timezone.utc), "date")
    dates = {"date": None, "run_after": tomorrow} if version >= "3" else {"date": tomorrow}
    # An Airflow 2 that may run what is dated in the future has begun it.
    begun = speech.run("begun", start_date=DATE, **dates)
    planned = [speech.run(f"planned-{number}", "queued", **dates) for number in range(2)]
    for runs, target in (([*planned, speech.run("newest")], "newest"), ([planned[0], begun], "begun")):
        newest = remote.play(remote.deployment.get_newest_dag_run("d"), speech.newest(*runs))
        assert newest is not None
        assert newest.run_id == target
    assert remote.play(remote.deployment.get_newest_dag_run("d"), speech.newest(*planned)) is None


@pytest.mark.parametrize("total", [1, 2, 10, 250])
def test_airflow_2_0_cannot_order_runs_so_the_last_of_the_listing_is_requested(total: int) -> None:
    remote, speech = meet(V1_OLDEST)
    some = [speech.run(f"n{number}") for number in range(min(total, 10))]
    turns = [speech.newest(*some, total=total)]
    if total > 10:
        line = f"GET {speech.runs_path}?limit=10&offset={total - 10}"
        turns.append(Turn(line, runs_body(speech, *[speech.run(f"n{n}") for n in range(240, 250)], total=total)))
    newest = remote.play(remote.deployment.get_newest_dag_run("d"), *turns)
    assert newest is not None
    assert newest.run_id == f"n{total - 1}"


def further(speech: Speech, offset: int, *runs: Any, total: int, limit: int = 100) -> Turn:
    """A request for older runs, as the newest ones are all planned for later."""
    order = "&order_by=-id" if speech.numbers >= (2, 1) else ""
    line = f"GET {speech.runs_path}?limit={limit}&offset={offset}{order}"
    return Turn(line, runs_body(speech, *runs, total=total))


def planned_runs(speech: Speech, number: int) -> list[Any]:
    return [speech.run(f"planned-{each}", "queued", date="2099-01-01T00:00:00Z") for each in range(number)]


def test_more_runs_that_are_planned_for_later_than_come_at_first_hide_no_newest_one() -> None:
    remote, speech = meet(V1)
    planned = planned_runs(speech, 110)
    turns = [
        speech.newest(*planned[:10], total=300),
        further(speech, 10, *planned[10:], total=300),
        further(speech, 110, speech.run("newest"), speech.run("older"), total=300),
    ]
    newest = remote.play(remote.deployment.get_newest_dag_run("d"), *turns)
    assert newest is not None
    assert newest.run_id == "newest"


def test_airflow_2_0_lists_them_from_its_end() -> None:
    remote, speech = meet(V1_OLDEST)
    planned, first = planned_runs(speech, 100), [speech.run(f"n{number}") for number in range(10)]
    turns = [
        speech.newest(*first, total=113),
        further(speech, 103, *planned[90:], total=113, limit=10),
        speech.newest(*first, total=113),
        further(speech, 3, *first[3:], *planned[:90], total=113),
    ]
    newest = remote.play(remote.deployment.get_newest_dag_run("d"), *turns)
    assert newest is not None
    assert newest.run_id == "n9"


def test_airflow_2_0_lists_them_to_the_first_that_was_made() -> None:
    remote, speech = meet(V1_OLDEST)
    oldest, planned = speech.run("oldest"), planned_runs(speech, 10)
    newest = remote.play(remote.deployment.get_newest_dag_run("d"), speech.newest(oldest, planned[0]))
    assert newest is not None
    assert newest.run_id == "oldest"
    first = speech.newest(oldest, *planned[:9], total=11)
    turns = [
        first,
        further(speech, 1, *planned, total=11, limit=10),
        first,
        further(speech, 0, oldest, total=11, limit=1),
    ]
    newest = remote.play(remote.deployment.get_newest_dag_run("d"), *turns)
    assert newest is not None
    assert newest.run_id == "oldest"


def test_nothing_more_is_read_of_a_dag_whose_runs_are_all_planned_for_later() -> None:
    remote, speech = meet(V1)
    assert remote.play(remote.deployment.get_newest_dag_run("d"), speech.newest(*planned_runs(speech, 10))) is None


def test_a_remote_that_plans_without_end_is_not_read_without_end() -> None:
    remote, speech = meet(V1)
    turns = [speech.newest(*planned_runs(speech, 10), total=10**9)]
    turns += [further(speech, 10 + 100 * page, *planned_runs(speech, 100), total=10**9) for page in range(5)]
    assert remote.play(remote.deployment.get_newest_dag_run("d"), *turns) is None


@every_version
def test_a_dag_without_runs_has_no_newest_one(version: str) -> None:
    remote, speech = meet(version)
    assert remote.play(remote.deployment.get_newest_dag_run("d"), speech.newest()) is None


@pytest.mark.parametrize(
    ("seconds", "short"),
    [
        ((15.0,), True),
        ((15.5,), False),
        ((15.5, 14.5), True),
        ((1.0, 16.0, 16.0), False),
        ((1.0, None), True),
        ((), False),
    ],
)
def test_runs_is_probably_short_if_at_least_half_of_the_others_were(
    seconds: tuple[float | None, ...], short: bool
) -> None:
    remote, speech = meet(V2)
    start = "2026-11-21T07:00:00Z"
    ends = [each and utc_text_of(parse_date(start).timestamp() + each) for each in seconds]
    runs = [speech.run(f"r{number}", start_date=start, end_date=end) for number, end in enumerate(ends)]
    listing = Turn(speech.newest(clock=remote.clock).expected, runs_body(speech, speech.run(), *runs))
    assert remote.play(remote.deployment.runs.is_probably_short(DagRun("d", "r"), 15), listing) is short


@pytest.mark.parametrize("ago", [14, 16])
def test_a_run_that_has_taken_longer_already_is_not_short(ago: float) -> None:
    remote, speech = meet(V2)
    run = DagRun("d", "r", start_date=utc_text_of(remote.clock.now - ago))
    earlier = speech.run("earlier", start_date="2026-11-21T07:00:00Z", end_date="2026-11-21T07:00:01Z")
    listing = [Turn(speech.newest(clock=remote.clock).expected, runs_body(speech, earlier))]
    found = remote.play(remote.deployment.runs.is_probably_short(run, 15), *(listing if ago < 15 else []))
    assert found is (ago < 15)


def test_a_run_that_is_planned_for_later_is_not_short() -> None:
    remote, _ = meet(V2)
    run = DagRun("d", "r", run_after=utc_text_of(remote.clock.now + 5))
    assert remote.play(remote.deployment.runs.is_probably_short(run, 15)) is False


def test_runs_do_not_count_as_short_if_the_remote_does_not_list_them() -> None:
    remote, speech = meet(V2)
    listing = Turn(speech.newest(clock=remote.clock).expected, answer(403, {"detail": "Forbidden"}))
    assert remote.play(remote.deployment.runs.is_probably_short(DagRun("d", "r"), 15), listing) is False


def test_airflow_1_10_does_not_show_how_long_runs_took() -> None:
    remote, _ = meet(EXPERIMENTAL)
    assert remote.play(remote.deployment.runs.is_probably_short(DagRun("d", "r"), 15)) is False


def test_all_runs_are_listed_page_by_page() -> None:
    remote, speech = meet(V2)
    runs = [speech.run(f"r{number}") for number in range(150)]
    turns = [
        Turn(f"GET {speech.runs_path}?limit=100&offset=0", runs_body(speech, *runs[:100], total=150)),
        Turn(f"GET {speech.runs_path}?limit=100&offset=100", runs_body(speech, *runs[100:], total=150)),
    ]
    assert len(remote.play(remote.deployment.list_dag_runs("d"), *turns)) == 150


@every_version
def test_runs_are_listed_by_date(version: str) -> None:
    remote, speech = meet(version)
    same, other = speech.run(date="2026-11-22T07:00:00+00:00"), speech.run("other", date="2026-11-22T07:00:00.000001Z")
    listed = [same, other] if speech.experimental else [same]
    runs = remote.play(remote.deployment.list_dag_runs("d", logical_date=DATE), speech.of_date(*listed))
    assert [run.run_id for run in runs] == ["r"]


@pytest.mark.parametrize(
    ("version", "bound", "order"),
    [
        (V1_OLDEST, "execution_date_gte", {}),
        (V1, "execution_date_gte", {"order_by": "end_date"}),
        (V2, "run_after_gte", {"order_by": "end_date"}),
    ],
)
def test_the_runs_of_several_dags_that_ended_come_in_one_request(version: str, bound: str, order: Any) -> None:
    remote, speech = meet(version)
    body = {"dag_ids": ["d", "e"], "end_date_gte": "2027-01-15T08:00:00Z", bound: "1970-01-01T00:00:00Z", **order}
    turn = Turn(
        f"POST {speech.base}/dags/~/dagRuns/list",
        runs_body(speech, speech.run(state="failed")),
        {**body, "page_limit": 100, "page_offset": 0},
    )
    ended = remote.deployment.runs.ended(["d", "e"], since=remote.clock.now, bound=0.0)
    assert [run.run_id for run in remote.play(ended, turn)] == ["r"]


def test_a_missing_dag_does_not_hide_the_runs_of_others_that_ended_on_1_10() -> None:
    remote, speech = meet(EXPERIMENTAL)
    missing = Turn("GET /api/experimental/dags/gone/dag_runs", answer(400, {"error": "Dag id gone not found"}))
    there = speech.get(speech.run("a", "success"), speech.run("b", "running"), speech.run("c", "failed"))
    other = Turn("GET /api/experimental/dags/e/dag_runs", ok([speech.run("f", "failed") | {"dag_id": "e"}]))
    ended = remote.deployment.runs.ended(["d", "gone", "e"], since=0.0, bound=0.0)
    assert [run.run_id for run in remote.play(ended, there, missing, other)] == ["a", "c", "f"]


CANCELLING = [version for version in STABLE if version != V1_OLDEST]


@pytest.mark.parametrize("version", CANCELLING)
def test_a_run_is_cancelled_and_looked_at_afterwards(version: str) -> None:
    remote, speech = meet(version)
    run = remote.play(
        remote.deployment.cancel_dag_run("d", "r"),
        speech.get(speech.run()),
        Turn(f"PATCH {speech.runs_path}/r", ok(speech.run(state="failed")), {"state": "failed"}),
        speech.get(speech.run(state="failed")),
    )
    assert run.state == "failed"


@pytest.mark.parametrize("version", CANCELLING)
def test_a_run_is_cancelled_again_if_the_scheduler_writes_its_own_state_over_ours(version: str) -> None:
    remote, speech = meet(version)
    cancelled = Turn(f"PATCH {speech.runs_path}/r", ok(speech.run(state="failed")), {"state": "failed"})
    running, failed = speech.get(speech.run(state="running")), speech.get(speech.run(state="failed"))
    run = remote.play(remote.deployment.cancel_dag_run("d", "r"), running, cancelled, running, cancelled, failed)
    assert run.state == "failed"
    run = remote.play(remote.deployment.cancel_dag_run("d", "r"), running, *[cancelled, running] * 3, running)
    assert run.state == "running"


@pytest.mark.parametrize("version", CANCELLING)
def test_a_run_that_was_cancelled_is_read_once_more_if_the_remote_reads_from_a_copy_that_lags(version: str) -> None:
    remote, speech = meet(version)
    cancelled = Turn(f"PATCH {speech.runs_path}/r", ok(speech.run(state="failed")), {"state": "failed"})
    running, failed = speech.get(speech.run(state="running")), speech.get(speech.run(state="failed"))
    began = remote.clock.now
    run = remote.play(remote.deployment.cancel_dag_run("d", "r"), running, *[cancelled, running] * 3, failed)
    assert run.state == "failed"
    assert remote.clock.now - began == 1 + 3 + 4


@pytest.mark.parametrize("version", CANCELLING)
def test_a_run_that_was_made_a_moment_ago_and_is_not_shown_yet_is_cancelled(version: str) -> None:
    remote, speech = meet(version)
    cancelled = Turn(f"PATCH {speech.runs_path}/r", ok(speech.run(state="failed")), {"state": "failed"})
    run = remote.play(remote.deployment.cancel_dag_run("d", "r"), speech.get(), cancelled, speech.get())
    assert run.state == "failed"
    with pytest.raises(DagRunNotFound):
        remote.play(remote.deployment.cancel_dag_run("d", "r"), speech.get(), replace(cancelled, reply=speech.no_run()))


@pytest.mark.parametrize("state", ["success", "failed"])
@pytest.mark.parametrize("version", CANCELLING)
def test_a_run_that_has_ended_is_left_as_it_is(version: str, state: str) -> None:
    remote, speech = meet(version)
    assert remote.play(remote.deployment.cancel_dag_run("d", "r"), speech.get(speech.run(state=state))).state == state


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1_OLDEST])
def test_cancelling_is_refused_before_any_request_where_it_cannot_be_done(version: str) -> None:
    remote, _ = meet(version)
    with pytest.raises(NotSupported, match="cannot cancel a DAG run"):
        remote.play(remote.deployment.cancel_dag_run("d", "r"))


def test_setting_another_state_is_refused_by_its_own_name() -> None:
    for version in (EXPERIMENTAL, V1_OLDEST):
        remote, _ = meet(version)
        dialect = remote.play(remote.client.dialect())
        with pytest.raises(NotSupported, match="cannot set the state of a DAG run"):
            dialect.set_run_state("d", "r", "success")


@every_stable_version
def test_a_run_is_cleared_by_its_id(version: str) -> None:
    remote, speech = meet(version)
    run = remote.play(
        remote.deployment.clear_dag_run("d", "r"),
        speech.get(speech.run(state="failed")),
        clear_turn(speech),
        speech.get(speech.run(state="queued")),
    )
    assert run.state == "queued"


@every_stable_version
def test_a_run_is_cleared_once_although_the_reply_is_lost(version: str) -> None:
    remote, speech = meet(version)
    run = remote.play(
        remote.deployment.clear_dag_run("d", "r"),
        speech.get(speech.run(state="failed")),
        replace(clear_turn(speech), reply=LOST),
        speech.get(speech.run(state="queued")),
    )
    assert run.state == "queued"
    assert remote.sleeps == []


@every_stable_version
def test_a_run_that_was_cleared_is_not_read_as_it_was_before(version: str) -> None:
    remote, speech = meet(version)
    before, after = speech.get(speech.run(state="success")), speech.get(speech.run(state="queued"))
    cleared = remote.deployment.clear_dag_run("d", "r")
    assert remote.play(cleared, before, clear_turn(speech), before, before, after).state == "queued"
    # One of which nothing was cleared stays as it is.
    cleared = remote.deployment.clear_dag_run("d", "r")
    assert remote.play(cleared, before, clear_turn(speech), *[before] * 4).state == "success"


@every_stable_version
def test_a_run_that_runs_is_cleared_without_a_pause(version: str) -> None:
    remote, speech = meet(version)
    running = speech.get(speech.run())
    assert (
        remote.play(remote.deployment.clear_dag_run("d", "r"), running, clear_turn(speech), running).state == "running"
    )
    assert remote.sleeps == []


@every_stable_version
def test_a_clear_that_did_not_arrive_is_sent_again(version: str) -> None:
    remote, speech = meet(version)
    run = remote.play(
        remote.deployment.clear_dag_run("d", "r"),
        speech.get(speech.run(state="failed")),
        replace(clear_turn(speech), reply=answer(502)),
        speech.get(speech.run(state="failed")),
        clear_turn(speech),
        speech.get(speech.run(state="queued")),
    )
    assert run.state == "queued"
    assert len(remote.sleeps) == 1


@every_stable_version
def test_a_run_is_deleted(version: str) -> None:
    remote, speech = meet(version)
    there, deletion = speech.get(speech.run()), Turn(f"DELETE {speech.runs_path}/r", Response(204))
    remote.play(remote.deployment.delete_dag_run("d", "r"), there, deletion)
    with pytest.raises(DagRunNotFound):
        remote.play(remote.deployment.delete_dag_run("d", "r"), speech.get())
    # What is gone when the request is sent again, was deleted by it.
    again = replace(deletion, reply=speech.no_run())
    remote.play(remote.deployment.delete_dag_run("d", "r"), there, replace(deletion, reply=LOST), again)


def test_1_10_refuses_to_delete() -> None:
    remote, _ = meet(EXPERIMENTAL)
    with pytest.raises(NotSupported, match="cannot delete a DAG run"):
        remote.play(remote.deployment.delete_dag_run("d", "r"))


def test_a_page_is_no_run_and_hides_none() -> None:
    remote, speech = meet(V2)
    with pytest.raises(UnexpectedReply):
        remote.play(remote.deployment.runs.get_or_none("d", "r"), *[Turn(speech.get_line(), page(404))] * 6)


@pytest.mark.parametrize("version", STABLE)
def test_a_run_that_was_there_a_moment_ago_is_read_again_before_it_counts_as_gone(version: str) -> None:
    remote, speech = ScriptedRemote(version=version), Speech(version)
    turns = [speech.get(), speech.get(), speech.get(speech.run("r", "success"))]
    assert remote.play(remote.deployment.runs.get_seen("d", "r"), *turns).state == "success"
    with pytest.raises(DagRunNotFound):
        remote.play(remote.deployment.runs.get_seen("d", "r"), *(speech.get() for _ in range(4)))
