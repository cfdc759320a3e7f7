"""Assets and their events: what each version can do, and the promise of exactly one event."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.assets import assets as module
from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.client import client
from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.dialects.readers import event_reader, read_asset
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    Conflict,
    DagNotFound,
    DagRunAlreadyExists,
    DeploymentChanged,
    InvalidSettings,
    ListingChanged,
    NotFound,
    NotSupported,
    PermanentError,
    RemoteUnavailable,
    UnexpectedReply,
    Unreachable,
)
from astronomer_remote.api.protocol.flow import Compute, Flow, Request, Response, TransportError
from astronomer_remote.api.protocol.ids import INTENT_KEY
from astronomer_remote.api.protocol.models import (
    LARGEST_CONF,
    LARGEST_EVENTS,
    Asset,
    AssetEvent,
    AssetEventIntent,
    AssetRef,
    asset_ref,
    events_for_xcom,
)
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.testing import FakeDeployment, VirtualClock, drive
from tests.api.script import page, plain

ABOUT_ASSETS = re.compile("asset|dataset|dagRuns")

ORDERS, URI = AssetRef(uri="s3://shop/orders"), "s3://shop/orders"
MARK = "0123456789abcdef"
CAN_EMIT = ("2.9.3", "2.11.2", "3.0.6", "3.3.2")
CANNOT_EMIT = ("1.10.15", "2.0.2", "2.3.4", "2.4.3", "2.8.4")


class ScriptedRemote:
    """A fake deployment with assets, of which single requests fail. :param faults: one for each request, in order."""

    def __init__(self, version: str = "3.3.2", faults: list[str] | None = None) -> None:
        self.clock = VirtualClock()
        self.fake = FakeDeployment(version, clock=self.clock, api_key="key")
        self.fake.add_dag("load")
        self.fake.add_dag("report")
        self.fake.add_asset(URI, name="orders", producers=["load"], consumers=["report"])
        self.fake.add_asset("s3://shop/refunds", name="refunds")
        self.fake.add_asset("s3://shop/both", name="both", producers=["load", "report"])
        self.faults = list(faults or [])
        self.sent: list[str] = []
        self.deployment = self.new_deployment()

    def new_deployment(self) -> Deployment:
        """What another worker has, which remembers nothing."""
        settings = Settings("http://fake", password="key", authentication="software_api_key")
        retry = RetryPolicy(attempts=30, total_seconds=100_000)
        return Deployment(settings, client=Client(settings, retry=retry, clock=self.clock, jitter=lambda: 0.5))

    def run(self, flow: Flow[Any]) -> Any:
        return drive(flow, self.handle, clock=self.clock)

    def handle(self, request: Request) -> Response | TransportError:
        if not ABOUT_ASSETS.search(request.path):
            return self.fake.handle(request)
        self.sent.append(request.method)
        fault = self.faults.pop(0) if self.faults else "none"
        reply = self.fake.handle(request) if fault == "none" or fault.endswith("after") else Response(0)
        kind = fault.partition(" ")[0]
        if kind.isdecimal():
            return page(500, "Oops") if kind == "500" else plain(int(kind), "")
        return {
            "none": reply,
            "unsent": TransportError("ConnectionRefusedError", sent=False),
            "lost": TransportError("RemoteDisconnected"),
            "page": page(200),
            "cut": Response(200, {"content-type": "application/json"}, reply.body[:-1]),
        }[kind]

    def marks(self) -> list[Any]:
        return [event["extra"].get(INTENT_KEY) for event in self.fake.asset_events()]


FAULTS = (
    *("unsent", "lost before", "lost after", "429", "500 before", "500 after", "502 before", "503 after", "504 after"),
    *("page before", "page after", "cut after"),
)


def intent(**more: Any) -> AssetEventIntent:
    return AssetEventIntent(ORDERS, MARK, **more)


# Exactly one event


@pytest.mark.parametrize("version", CAN_EMIT)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=12))
def test_whatever_is_lost_one_intent_makes_one_event(version: str, faults: list[str]) -> None:
    remote = ScriptedRemote(version, faults)
    event = remote.run(remote.deployment.assets.register_event(intent(extra={"rows": 7})))
    assert remote.marks() == [MARK]
    assert event.extra == {"rows": 7, INTENT_KEY: MARK, "from_rest_api": True}


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
@given(
    first=st.lists(st.sampled_from(FAULTS), max_size=5),
    second=st.lists(st.sampled_from(FAULTS), max_size=5),
    died_after=st.integers(0, 8),
)
def test_a_worker_that_dies_and_its_retry_make_one_event_together(
    version: str, first: list[str], second: list[str], died_after: int
) -> None:
    remote = ScriptedRemote(version, first)
    began = remote.clock()

    class Died(Exception): ...

    def dies(request: Request) -> Response | TransportError:
        if len(remote.sent) > died_after:
            raise Died
        return remote.handle(request)

    with suppress(Died):
        drive(remote.deployment.assets.register_event(intent()), dies, clock=remote.clock)
    remote.faults = list(second)
    remote.clock.now += 300
    remote.run(remote.new_deployment().assets.register_event(intent(first_attempt=began)))
    assert remote.marks() == [MARK]


def test_the_first_attempt_reads_no_events() -> None:
    remote = ScriptedRemote()
    remote.run(remote.deployment.assets.register_event(intent()))
    assert remote.sent == ["GET", "POST"]


def test_a_retry_finds_its_event_among_those_of_others() -> None:
    remote = ScriptedRemote("2.11.2")
    began = remote.clock()
    remote.run(remote.deployment.assets.register_event(intent()))
    for number in range(230):
        remote.fake.add_asset_event(URI, {"number": number})
        remote.fake.add_asset_event("s3://shop/refunds", {INTENT_KEY: MARK})
    remote.clock.now += 3600
    event = remote.run(remote.new_deployment().assets.register_event(intent(first_attempt=began)))
    assert event.event_id == 1
    assert remote.sent[2:] == ["GET"] * 4


def test_an_event_of_another_intent_is_not_taken_for_this_one() -> None:
    remote = ScriptedRemote()
    remote.run(remote.deployment.assets.register_event(intent()))
    again = replace(intent(first_attempt=remote.clock()), mark="another")
    remote.run(remote.deployment.assets.register_event(again))
    assert remote.marks() == [MARK, "another"]


def test_an_attempt_that_cannot_read_the_events_registers_none() -> None:
    remote = ScriptedRemote(faults=["none"] + ["503"] * 100)
    remote.deployment.client._retry = RetryPolicy()
    with pytest.raises(RemoteUnavailable):
        remote.run(remote.deployment.assets.register_event(intent(first_attempt=remote.clock())))
    assert "POST" not in remote.sent


def test_a_remote_that_never_answers_is_given_up() -> None:
    remote = ScriptedRemote()
    remote.faults = ["none", *["lost before", "none", "none", "none", "none"] * 40]
    remote.deployment.client._retry = RetryPolicy(attempts=3, total_seconds=60)
    with pytest.raises(Unreachable):
        remote.run(remote.deployment.assets.register_event(intent()))
    assert remote.marks() == []


def test_too_many_events_to_know_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EVENTS", 200)
    remote = ScriptedRemote()
    for _ in range(250):
        remote.fake.add_asset_event(URI)
    with pytest.raises(NotSupported, match="unknown whether this task has registered its event"):
        remote.run(remote.deployment.assets.register_event(intent(first_attempt=remote.clock())))
    assert "POST" not in remote.sent


def test_an_asset_that_was_recreated_is_looked_up_again() -> None:
    remote = ScriptedRemote()
    remote.run(remote.deployment.assets.register_event(intent()))
    known = remote.fake._contents.assets
    known[0] = replace(known[0], asset_id=9)
    remote.run(remote.deployment.assets.register_event(replace(intent(), mark="second")))
    assert [event.asset.asset_id for event in remote.fake._contents.asset_events] == [1, 9]
    assert remote.sent == ["GET", "POST"] * 2


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_an_asset_that_is_recreated_while_its_event_is_registered_gets_one(version: str) -> None:
    remote = ScriptedRemote(version)
    known = remote.fake._contents.assets

    def handle(request: Request) -> Response | TransportError:
        if request.method == "POST" and known[0].asset_id == 1:
            known[0] = replace(known[0], asset_id=9)
            remote.faults = ["lost after"]
        return remote.handle(request)

    event = drive(remote.deployment.assets.register_event(intent()), handle, clock=remote.clock)
    assert (event.asset_id, remote.marks()) == (9, [MARK])


@pytest.mark.parametrize(("version", "change"), [("2.11.2", "uri"), ("3.3.2", "uri"), ("3.3.2", "id")])
def test_an_event_of_another_asset_is_an_error_that_is_not_repeated(version: str, change: str) -> None:
    remote = ScriptedRemote(version)
    odd = {"uri": (b"s3://shop/orders", b"s3://else/orders"), "id": (b'"asset_id": 1', b'"asset_id": 7')}[change]

    def handle(request: Request) -> Response | TransportError:
        reply = remote.handle(request)
        assert isinstance(reply, Response)
        return replace(reply, body=reply.body.replace(*odd)) if request.method == "POST" else reply

    with pytest.raises(Conflict, match="registered event 1 of another asset"):
        drive(remote.deployment.assets.register_event(intent()), handle, clock=remote.clock)
    assert remote.sent == ["GET", "POST"]


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("seconds", [60, 120])
def test_an_outage_after_a_lost_reply_is_survived_like_that_of_a_trigger(
    version: str, seconds: int, sent: bool
) -> None:
    remote = ScriptedRemote(version, ["none", "lost before"])
    remote.deployment.client._retry = RetryPolicy()
    began = remote.clock()

    def handle(request: Request) -> Response | TransportError:
        if "POST" in remote.sent and remote.clock() < began + seconds:
            return TransportError("ConnectionResetError", sent=sent)
        return remote.handle(request)

    drive(remote.deployment.assets.register_event(intent()), handle, clock=remote.clock)
    assert remote.marks() == [MARK]


def test_an_outage_that_lasts_ends_with_the_error_of_the_registration() -> None:
    remote = ScriptedRemote(faults=["none", "504 before", *["503"] * 100])
    remote.deployment.client._retry = RetryPolicy()
    with pytest.raises(RemoteUnavailable) as failed:
        remote.run(remote.deployment.assets.register_event(intent()))
    assert (failed.value.status, failed.value.method) == (504, "POST")
    assert 120 < sum(remote.clock.sleeps) < 180
    assert remote.sent.count("POST") == 1


def test_a_registration_that_stays_without_a_reply_ends_in_time() -> None:
    remote = ScriptedRemote()
    remote.deployment.client._retry = RetryPolicy()

    def handle(request: Request) -> Response | TransportError:
        if request.method == "POST":
            remote.sent.append("POST")
            return plain(504, "")
        return remote.handle(request)

    with pytest.raises(RemoteUnavailable, match=r"POST .*events → 504"):
        drive(remote.deployment.assets.register_event(intent()), handle, clock=remote.clock)
    assert sum(remote.clock.sleeps) < 180
    assert 4 < remote.sent.count("POST") < 20


def test_a_retry_waits_for_an_event_that_shows_late() -> None:
    remote = ScriptedRemote()
    began = remote.clock()

    def handle(request: Request) -> Response | TransportError:
        if remote.clock() >= began + 5 and not remote.marks():
            remote.fake.add_asset_event(URI, {INTENT_KEY: MARK})
        return remote.handle(request)

    drive(remote.deployment.assets.register_event(intent(first_attempt=began)), handle, clock=remote.clock)
    assert remote.marks() == [MARK]
    assert "POST" not in remote.sent


def test_an_asset_whose_number_changes_all_the_time_is_given_up() -> None:
    remote = ScriptedRemote()

    def handle(request: Request) -> Response | TransportError:
        if request.method == "POST":
            first = remote.fake._contents.assets[0]
            remote.fake._contents.assets[0] = replace(first, asset_id=first.asset_id + 10)
        return remote.handle(request)

    with pytest.raises(NotFound, match="was not found"):
        drive(remote.deployment.assets.register_event(intent()), handle, clock=remote.clock)
    assert remote.sent == ["GET", "POST"] * 2


def test_a_connection_that_points_elsewhere_takes_no_number_along() -> None:
    before, after = ScriptedRemote(), ScriptedRemote()
    first = after.fake._contents.assets
    first[0], first[1] = replace(first[0], asset_id=2), replace(first[1], asset_id=1)
    deployment = before.deployment
    before.run(deployment.assets.register_event(intent()))
    before.fake.change_secret("another")
    moved = Settings("http://elsewhere", password="key", authentication="software_api_key")

    def handle(request: Request) -> Response | TransportError:
        return (after if deployment.client.settings is moved else before).handle(request)

    second = replace(intent(), mark="second")
    drive(deployment.assets.register_event(second), handle, clock=before.clock, reload=lambda: moved)
    assert [(event["extra"][INTENT_KEY], event["uri"]) for event in after.fake.asset_events()] == [("second", URI)]


def moving(before: ScriptedRemote, at: Callable[[Request], bool]) -> tuple[ScriptedRemote, Any, Settings]:
    """
    A connection that points to another deployment from one of its requests on, where the numbers of assets differ.

    :param at: whether it is this request.
    :return: the other deployment, what answers each request, and the connection as it is then.
    """
    after = ScriptedRemote()
    first = after.fake._contents.assets
    first[0], first[1] = replace(first[0], asset_id=2), replace(first[1], asset_id=1)
    moved = Settings("http://elsewhere", password="key", authentication="software_api_key")
    deployment = before.deployment

    def handle(request: Request) -> Response | TransportError:
        if deployment.client.settings is moved:
            return after.handle(request)
        if at(request):
            before.fake.change_secret("another")
        return before.handle(request)

    return after, handle, moved


@pytest.mark.parametrize("in_doubt", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_moves_meanwhile_takes_no_number_along(method: str, in_doubt: bool) -> None:
    before = ScriptedRemote()
    deployment = before.deployment
    after, handle, moved = moving(
        before, lambda request: request.method == method and request.path.endswith("/assets/events")
    )
    given = intent(first_attempt=before.clock() if in_doubt else None)
    drive(deployment.assets.register_event(given), handle, clock=before.clock, reload=lambda: moved)
    shown = after if method == "POST" or in_doubt else before
    assert [event["uri"] for event in shown.fake.asset_events()] == [URI]
    assert len(before.fake.asset_events()) + len(after.fake.asset_events()) == 1


def test_a_connection_that_moves_meanwhile_materializes_no_other_asset() -> None:
    before = ScriptedRemote()
    deployment = before.deployment
    after, handle, moved = moving(before, lambda request: request.path.endswith("/materialize"))
    with pytest.raises(DeploymentChanged, match="points to http://elsewhere now"):
        drive(deployment.materialize_asset(URI), handle, clock=before.clock, reload=lambda: moved)
    assert not any(remote.fake.runs(dag_id) for remote in (before, after) for dag_id in ("load", "report"))
    assert drive(deployment.materialize_asset(URI), handle, clock=before.clock).dag_id == "load"


@pytest.mark.parametrize("kind", ["unreadable", "repeated"])
def test_events_that_are_not_all_known_prove_nothing(kind: str) -> None:
    remote = ScriptedRemote()
    began = remote.clock()
    for _ in range(150):
        remote.fake.add_asset_event(URI)

    def handle(request: Request) -> Response | TransportError:
        if kind == "repeated" and request.path.endswith("events"):
            request = replace(request, query={**request.query, "offset": 0})
        reply = remote.handle(request)
        assert isinstance(reply, Response)
        return reply if kind == "repeated" else replace(reply, body=reply.body.replace(b'"id": 120,', b'"id": "x",'))

    remote.deployment.client._retry = RetryPolicy()
    error = {"unreadable": (NotSupported, "events that cannot be read"), "repeated": (ListingChanged, "not show all")}
    with pytest.raises(error[kind][0], match=error[kind][1]):
        drive(remote.deployment.assets.register_event(intent(first_attempt=began)), handle, clock=remote.clock)
    assert "POST" not in remote.sent


def test_a_remote_that_lists_an_asset_and_takes_no_event_of_it_says_so() -> None:
    remote = ScriptedRemote()

    def handle(request: Request) -> Response | TransportError:
        if request.method == "POST":
            return Response(404, {"content-type": "application/json"}, b'{"detail": "Asset with ID: `1`"}')
        return remote.handle(request)

    with pytest.raises(NotFound, match="Asset with ID"):
        drive(remote.deployment.assets.register_event(intent()), handle, clock=remote.clock)


def test_an_account_without_the_permission_is_named() -> None:
    remote = ScriptedRemote()

    def handle(request: Request) -> Response | TransportError:
        if request.method == "POST":
            return Response(403, {"content-type": "application/json"}, b'{"detail": "Forbidden"}')
        return remote.handle(request)

    with pytest.raises(AccessDenied, match="register an event of asset 's3://shop/orders'"):
        drive(remote.deployment.create_asset_event(uri=URI), handle, clock=remote.clock)


# What a version can do


@pytest.mark.parametrize("version", CANNOT_EMIT)
def test_a_version_without_the_request_fails_before_any_other(version: str) -> None:
    remote = ScriptedRemote(version)
    with pytest.raises(NotSupported, match="cannot register a"):
        remote.run(remote.deployment.create_asset_event(URI))
    assert remote.sent == []


@pytest.mark.parametrize("version", ["1.10.15", "2.0.2", "2.3.4"])
def test_a_version_without_datasets_lists_none(version: str) -> None:
    remote = ScriptedRemote(version)
    for flow in (
        remote.deployment.list_assets(),
        remote.deployment.list_assets(uri_pattern="x"),
        remote.deployment.list_asset_events(),
        remote.deployment.list_asset_events(URI),
        remote.deployment.materialize_asset(URI),
    ):
        with pytest.raises(NotSupported, match="cannot list"):
            remote.run(flow)
    assert remote.sent == []


@pytest.mark.parametrize(("version", "possible"), [("2.11.2", False), ("3.1.8", False), ("3.2.0", True)])
def test_a_partition_key_needs_airflow_3_2(version: str, possible: bool) -> None:
    remote = ScriptedRemote(version)
    flow = remote.deployment.create_asset_event(URI, partition_key="2026-11-01")
    if not possible:
        with pytest.raises(NotSupported, match=r"partition_key.*3\.2 and later"):
            remote.run(flow)
        return
    assert remote.run(flow).partition_key == "2026-11-01"


# Finding an asset


@pytest.mark.parametrize("version", ["2.4.3", *CAN_EMIT])
def test_an_asset_is_found_by_its_uri(version: str) -> None:
    remote = ScriptedRemote(version)
    found = remote.run(remote.deployment.assets.get(ORDERS))
    assert (found.uri, found.producing_dag_ids, found.consuming_dag_ids) == (URI, ("load",), ("report",))
    assert found.name == ("orders" if version.startswith("3") else None)
    assert remote.sent == ["GET"]


def test_a_text_is_a_uri_or_a_name() -> None:
    remote = ScriptedRemote()
    for text in (URI, "orders"):
        assert remote.run(remote.deployment.assets.get(asset_ref(text))).uri == URI


def test_airflow_2_has_no_names() -> None:
    remote = ScriptedRemote("2.11.2")
    with pytest.raises(NotFound, match="no asset 'orders'"):
        remote.run(remote.deployment.assets.get(asset_ref("orders")))
    with pytest.raises(NotSupported, match="cannot find an asset by its name"):
        remote.run(remote.deployment.assets.get(AssetRef(name="orders")))


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_an_unknown_asset_is_an_error_that_names_similar_ones(version: str) -> None:
    remote = ScriptedRemote(version)
    with pytest.raises(NotFound, match=r"no asset 's3://shop/order'\. Similar ones are: 's3://shop/orders'.*only once"):
        remote.run(remote.deployment.create_asset_event("s3://shop/order"))
    assert remote.marks() == []


def test_similar_assets_are_compared_outside_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = ScriptedRemote()
    compared: list[bool] = []
    inside: list[bool] = []

    def compare(*args: Any, **options: Any) -> list[str]:
        compared.append(bool(inside))
        return []

    def watched(flow: Flow[Any]) -> Flow[Any]:
        outcome = None
        while True:
            step = flow.send(outcome)
            if isinstance(step, Compute):
                inside.append(True)
            outcome = yield step
            inside.clear()

    monkeypatch.setattr(module, "get_close_matches", compare)
    with pytest.raises(NotFound):
        remote.run(watched(remote.deployment.create_asset_event("s3://shop/order")))
    assert compared == [True]


def test_an_unknown_asset_of_a_remote_without_any_says_so() -> None:
    remote = ScriptedRemote()
    remote.fake._contents.assets.clear()
    with pytest.raises(NotFound, match="It shows no assets at all"):
        remote.run(remote.deployment.create_asset_event(AssetRef(name="x")))


def test_an_asset_is_missing_even_if_similar_ones_cannot_be_listed() -> None:
    remote = ScriptedRemote()

    def handle(request: Request) -> Response | TransportError:
        if "uri_pattern" in request.query or not ABOUT_ASSETS.search(request.path):
            return remote.handle(request)
        return Response(403, {"content-type": "application/json"}, b'{"detail": "Forbidden"}')

    with pytest.raises(NotFound, match="no asset 'x'"):
        drive(remote.deployment.list_asset_events(uri="x"), handle, clock=remote.clock)


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_assets_are_listed_all_or_by_a_pattern(version: str) -> None:
    remote = ScriptedRemote(version)
    for number in range(150):
        remote.fake.add_asset(f"s3://many/{number}")
    assert len(remote.run(remote.deployment.list_assets())) == 153
    many = remote.run(remote.deployment.list_assets(uri_pattern="many/"))
    assert len(many) == 150
    assert len({asset.asset_id for asset in many}) == 150
    assert [asset.uri for asset in remote.run(remote.deployment.list_assets(uri_pattern="OPS/Re_UNDS"))] == []
    assert [asset.uri for asset in remote.run(remote.deployment.list_assets(uri_pattern="OP/Re_UNDS"))] == [
        "s3://shop/refunds"
    ]


def test_of_very_many_assets_not_all_are_read_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_COMPARED", 100)
    remote = ScriptedRemote()
    for number in range(300):
        remote.fake.add_asset(f"s3://many/{number}")
    with pytest.raises(NotFound, match="no asset 's3://other'"):
        remote.run(remote.deployment.list_asset_events("s3://other"))
    # By URI, by name, and one page to find similar ones.
    assert remote.sent == ["GET"] * 3


def test_an_asset_that_is_not_among_those_that_are_read_may_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MATCHES", 100)
    remote = ScriptedRemote("2.11.2")
    for number in range(150):
        remote.fake.add_asset(f"s3://many/{number}")
    remote.fake.add_asset("s3://many/")
    with pytest.raises(NotSupported, match=r"At least 100 assets .* unknown whether the remote has it"):
        remote.run(remote.deployment.list_asset_events("s3://many/"))


# Events


@pytest.mark.parametrize("version", ["2.4.3", "2.11.2", "3.0.6", "3.3.2"])
def test_events_are_listed_newest_first_of_an_asset_since_a_moment(version: str) -> None:
    remote = ScriptedRemote(version)
    for number in range(5):
        remote.clock.now += 60
        remote.fake.add_asset_event(URI, {"number": number})
        remote.fake.add_asset_event("s3://shop/refunds")
    since = datetime.fromtimestamp(remote.clock.now - 150, timezone.utc)
    found = remote.run(remote.deployment.list_asset_events(URI, since=since))
    assert [event.extra["number"] for event in found] == [4, 3, 2]
    assert len(remote.run(remote.deployment.list_asset_events(since=since))) == 6
    assert [event.extra["number"] for event in remote.run(remote.deployment.list_asset_events(URI, limit=2))] == [4, 3]


def test_the_events_that_a_wait_is_for_are_listed_oldest_first() -> None:
    remote = ScriptedRemote()
    for number in range(4):
        remote.fake.add_asset_event(URI, {"number": number, "even": number % 2 == 0})
    target = AssetTarget(URI, None, "2020-01-01T00:00:00Z", extra={"even": True})
    found = remote.run(remote.deployment.assets.matching_events(target))
    assert [event.extra["number"] for event in found] == [0, 2]


def test_events_that_are_large_are_read_in_smaller_pages() -> None:
    remote = ScriptedRemote()
    for number in range(7):
        remote.fake.add_asset_event(URI, {"number": number})

    def handle(request: Request) -> Response | TransportError:
        reply = remote.handle(request)
        too_large = request.path.endswith("events") and int(request.query["limit"]) > 3
        return replace(reply, truncated=True) if too_large else reply  # type: ignore[type-var]

    found = drive(remote.deployment.list_asset_events(URI), handle, clock=remote.clock)
    assert [event.extra["number"] for event in found] == [6, 5, 4, 3, 2, 1, 0]


def test_one_event_that_is_too_large_is_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    remote = ScriptedRemote()
    for number in range(7):
        remote.fake.add_asset_event(URI, {"number": number})

    def handle(request: Request) -> Response | TransportError:
        reply = remote.handle(request)
        assert isinstance(reply, Response)
        too_large = b'"number": 4' in reply.body
        return replace(reply, truncated=True) if too_large else reply

    found = drive(remote.deployment.list_asset_events(URI), handle, clock=remote.clock)
    assert [event.extra["number"] for event in found] == [6, 5, 3, 2, 1, 0]
    assert "Could not list asset events in full" in caplog.text


def test_a_remote_that_repeats_a_page_ends_a_listing() -> None:
    remote = ScriptedRemote()
    for number in range(250):
        remote.fake.add_asset(f"s3://many/{number}")
        remote.fake.add_asset_event(URI)

    def handle(request: Request) -> Response | TransportError:
        again = {**request.query, "offset": 0} if "offset" in request.query else request.query
        return remote.handle(replace(request, query=again))

    assert len(drive(remote.deployment.list_assets(uri_pattern="many"), handle, clock=remote.clock)) == 100
    assert remote.sent == ["GET"] * 2
    remote.sent.clear()
    remote.deployment.client._retry = RetryPolicy()
    with pytest.raises(ListingChanged, match="shown again in their place"):
        drive(remote.deployment.list_asset_events(limit=1000), handle, clock=remote.clock)
    assert len(remote.sent) < 30


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
@pytest.mark.parametrize("between", [1, 99, 100, 350])
def test_events_that_come_while_they_are_listed_hide_no_older_ones(version: str, between: int) -> None:
    remote = ScriptedRemote(version)
    for number in range(150):
        remote.fake.add_asset_event(URI, {"number": number})

    def handle(request: Request) -> Response | TransportError:
        if remote.sent.count("GET") == 2 and len(remote.fake.asset_events()) == 150:
            for _ in range(between):
                remote.fake.add_asset_event(URI, {"number": -1})
        return remote.handle(request)

    found = drive(remote.deployment.list_asset_events(URI, limit=1000), handle, clock=remote.clock)
    assert sorted(event.extra["number"] for event in found if event.extra["number"] >= 0) == list(range(150))


@pytest.mark.parametrize("always", [False, True])
def test_a_listing_is_read_again_if_events_are_deleted_meanwhile(always: bool) -> None:
    remote = ScriptedRemote()
    for number in range(650):
        remote.fake.add_asset_event(URI, {"number": number})

    def handle(request: Request) -> Response | TransportError:
        reply = remote.handle(request)
        if request.path.endswith("events") and (always or len(remote.fake.asset_events()) == 650):
            # From the front, so that what follows moves to pages that were read already.
            del remote.fake._contents.asset_events[-20:]
        return reply

    listing = remote.deployment.list_asset_events(URI, limit=1000)
    if always:
        with pytest.raises(ListingChanged, match="some were deleted meanwhile"):
            drive(listing, handle, clock=remote.clock)
        return
    found = drive(listing, handle, clock=remote.clock)
    assert [event.extra["number"] for event in found] == list(range(629, -1, -1))


def test_large_events_are_read_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LARGEST_LISTING", 500_000)
    remote = ScriptedRemote()
    for number in range(120):
        remote.fake.add_asset_event(URI, {"number": number, "blob": "x" * 40_000})
    remote.fake.add_asset_event(URI, {"number": 120, "blob": "y"})
    with pytest.raises(NotSupported, match="Request fewer of them"):
        remote.run(remote.deployment.list_asset_events(URI, limit=1000))
    target = AssetTarget(URI, None, "2020-01-01T00:00:00Z", extra=None)
    found = remote.run(remote.deployment.assets.matching_events(target))
    assert [event.event_id for event in found] == list(range(1, 122))
    plain, small = found[0].as_dict(), found[-1].as_dict()
    assert (plain["event_id"], plain["extra"], plain["created_dag_runs"]) == (1, None, None)
    assert plain["left_out"].startswith("created_dag_runs, extra: 40")
    assert plain["uri"] == URI
    assert found[0].as_dict(None)["extra"] is None
    assert (small["extra"], "left_out" in small) == ({"number": 120, "blob": "y"}, False)


def test_a_predicate_reads_an_extra_that_is_too_large_to_keep() -> None:
    remote = ScriptedRemote()
    for number in range(2):
        remote.fake.add_asset_event(URI, {"number": number, "blob": "x" * 40_000})
    target = AssetTarget(URI, None, "2020-01-01T00:00:00Z", extra={"number": 1})
    found = remote.run(remote.deployment.assets.matching_events(target))
    assert [event.event_id for event in found] == [2]


def test_a_retry_finds_its_event_among_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LARGEST_LISTING", 500_000)
    remote = ScriptedRemote()
    began = remote.clock()
    first = remote.run(remote.deployment.assets.register_event(intent()))
    for _ in range(120):
        remote.fake.add_asset_event(URI, {"blob": "x" * 10_000})
    again = remote.run(remote.deployment.assets.register_event(intent(first_attempt=began)))
    assert again.event_id == first.event_id


def test_very_many_events_of_an_asset_do_not_hide_the_newest() -> None:
    remote = ScriptedRemote()
    for _ in range(3):
        remote.fake.add_asset_event(URI)

    def handle(request: Request) -> Response | TransportError:
        reply = remote.handle(request)
        assert isinstance(reply, Response)
        return replace(reply, body=reply.body.replace(b'"total_entries": 3', b'"total_entries": 900000'))

    assert len(drive(remote.deployment.list_asset_events(limit=1000), handle, clock=remote.clock)) == 3


def test_a_listing_that_claims_more_than_it_has_ends() -> None:
    remote = ScriptedRemote()
    remote.fake.add_asset_event(URI)

    def handle(request: Request) -> Response | TransportError:
        reply = remote.handle(request)
        assert isinstance(reply, Response)
        return replace(reply, body=reply.body.replace(b'"total_entries": 1', b'"total_entries": 9'))

    assert len(drive(remote.deployment.list_asset_events(URI), handle, clock=remote.clock)) == 1


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_an_event_of_another_uri_does_not_pass_for_one_of_the_asset(version: str) -> None:
    remote = ScriptedRemote(version)
    remote.fake.add_asset_event(URI)

    def handle(request: Request) -> Response | TransportError:
        reply = remote.handle(request)
        assert isinstance(reply, Response)
        moved = reply.body.replace(URI.encode(), b"s3://else/orders")
        return replace(reply, body=moved) if request.path.endswith("events") else reply

    with pytest.raises(UnexpectedReply, match="about another asset"):
        drive(remote.deployment.list_asset_events(URI), handle, clock=remote.clock)


# Materialize


@pytest.mark.parametrize(
    ("version", "requests"), [("2.4.3", "dagRuns"), ("3.1.8", "dagRuns"), ("3.3.2", "materialize")]
)
@pytest.mark.parametrize("faults", [[], ["none", "lost after"], ["none", "503 before", "none"], ["none", "503 after"]])
def test_an_asset_is_materialized_once(version: str, requests: str, faults: list[str]) -> None:
    remote = ScriptedRemote(version, faults)
    run = remote.run(remote.deployment.materialize_asset(URI, conf={"k": "v"}))
    assert [each["run_id"] for each in remote.fake.runs("load")] == [run.run_id]
    assert (run.dag_id, run.conf) == ("load", {"k": "v"})
    posts = [request.path for request in remote.fake.received if request.method == "POST"]
    assert all(path.endswith(requests) for path in posts)
    with pytest.raises(DagRunAlreadyExists):
        remote.run(remote.deployment.materialize_asset(URI, run_id=run.run_id))


def test_an_asset_is_materialized_by_the_dag_that_produces_it_now() -> None:
    remote = ScriptedRemote()
    assert remote.run(remote.deployment.materialize_asset(URI)).dag_id == "load"
    known = remote.fake._contents.assets
    known[0] = replace(known[0], producers=("report",))
    assert remote.run(remote.deployment.materialize_asset(URI)).dag_id == "report"


def test_an_asset_without_a_producer_is_not_materialized() -> None:
    remote = ScriptedRemote()
    with pytest.raises(NotFound, match="No DAG of the remote produces asset 'refunds'"):
        remote.run(remote.deployment.materialize_asset("refunds"))


def test_a_producer_that_is_removed_before_the_request_is_named() -> None:
    remote = ScriptedRemote()
    known = remote.fake._contents.assets

    def handle(request: Request) -> Response | TransportError:
        if request.path.endswith("/materialize"):
            known[0] = replace(known[0], producers=())
        return remote.handle(request)

    with pytest.raises(NotFound, match="DAG 'load' of the remote no longer produces the asset") as error:
        drive(remote.deployment.materialize_asset(URI), handle, clock=remote.clock)
    assert not isinstance(error.value, DagNotFound)
    assert "No Dag materializes asset with ID: 1" in str(error.value)


def test_an_asset_of_several_producers_is_not_materialized() -> None:
    remote = ScriptedRemote()
    with pytest.raises(Conflict, match="'load', 'report'"):
        remote.run(remote.deployment.materialize_asset("both"))


# Arguments and models


class Like:
    """An object with some of the fields of Airflow's own asset classes."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"asset": "x"}, AssetRef("x", "x")),
        ({"uri": "x"}, AssetRef("x")),
        ({"asset": Like(uri="s3://x", name="x")}, AssetRef("s3://x")),
        ({"asset": Like(uri="x", name="x")}, AssetRef("x", "x")),
        ({"asset": Like(uri="s3://x")}, AssetRef("s3://x")),
        ({"asset": Like(name="x")}, AssetRef(name="x")),
    ],
)
def test_what_identifies_an_asset(given: dict[str, Any], found: AssetRef) -> None:
    assert asset_ref(**given) == found


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, "exactly one of asset and uri"),
        ({"asset": "x", "uri": "x"}, "exactly one of asset and uri"),
        ({"asset": 7}, "asset must be a text, an Asset or a Dataset, not int"),
        ({"uri": " "}, "uri must be a non-empty text"),
        ({"asset": Like(uri=7)}, "asset must be a non-empty text"),
        ({"asset": "x" * 1501}, "1501 characters long; Airflow stores 1500"),
    ],
)
def test_what_identifies_no_asset(given: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidSettings, match=error):
        asset_ref(**given)


def test_an_event_in_plain_json() -> None:
    event = AssetEvent(1, 2, "2026-11-22T07:00:00Z", extra={"k": "v"}, created_dag_runs=(("d", "r"),))
    plain_event = event.as_dict()
    assert plain_event["created_dag_runs"] == [{"dag_id": "d", "run_id": "r"}]
    assert plain_event["extra"] == {"k": "v"}
    assert "left_out" not in plain_event
    large = replace(event, extra={"k": "v" * 40_000}).as_dict()
    assert large["extra"] is None
    assert "list_asset_events" in large["left_out"]


@pytest.mark.parametrize("letter", ["r", "\U0001f600"])
def test_no_event_is_larger_than_xcom_takes(letter: str) -> None:
    text = letter * 250
    event = AssetEvent(1, 2, "2026-11-22T07:00:00Z", created_dag_runs=((text, text),) * 100, extra={"k": 1})
    plain_event = event.as_dict()
    assert (plain_event["created_dag_runs"], plain_event["extra"]) == (None, {"k": 1})
    assert plain_event["left_out"].startswith("created_dag_runs: ")
    assert len(event.as_dict(largest=None)["created_dag_runs"]) == 100
    full = replace(event, uri=letter * 1500, name=letter * 1500, partition_key=text, extra={"k": letter * 20_000})
    full = replace(full, source_dag_id=text, source_task_id=text, source_run_id=text)
    for largest in (LARGEST_CONF, 1000):
        assert untrusted.size(full.as_dict(largest)) <= largest
    many = events_for_xcom([full] * 1000)
    assert len(many) == 1000
    assert untrusted.size(many) <= LARGEST_EVENTS


def test_events_that_fit_are_whole() -> None:
    events = [AssetEvent(number, 2, "2026-11-22T07:00:00Z", extra={"k": "v" * 100}) for number in range(1000)]
    assert events_for_xcom(events) == [event.as_dict(None) for event in events]


def test_numbers_that_no_process_can_pass_on_are_refused() -> None:
    body = {"id": 1, "asset_id": 2, "timestamp": "2026-11-22T07:00:00Z", "source_map_index": 2**63}
    assert event_reader("asset")(body).source_map_index is None
    for name in ("id", "asset_id"):
        with pytest.raises(TypeError, match=f"{name} has more than 64 bits"):
            event_reader("asset")({**body, name: 2**63})
    with pytest.raises(TypeError, match="id has more than 64 bits"):
        read_asset({"id": 2**63, "uri": "u"})


@pytest.mark.parametrize("odd", [7, "text", {"dag_id": "d"}, ["text", None, 7, [], {"dag_id": 7, "run_id": {}}]])
def test_odd_entries_of_what_is_only_shown_hide_nothing(odd: Any) -> None:
    asset = read_asset({"id": 1, "uri": "u", "producing_tasks": odd, "scheduled_dags": odd})
    assert (asset.producing_dag_ids, asset.consuming_dag_ids) == ((), ())
    body = {"id": 1, "asset_id": 2, "timestamp": "2026-11-22T07:00:00Z", "created_dagruns": odd}
    assert event_reader("asset")(body).created_dag_runs == ()


def test_an_asset_in_plain_json() -> None:
    assert Asset(1, "u", producing_dag_ids=("d",)).as_dict()["producing_dag_ids"] == ["d"]


def test_odd_fields_of_a_reply_are_left_out() -> None:
    asset = read_asset({"id": 1, "uri": "u\n", "extra": [], "producing_tasks": [7, {"dag_id": None}, {"dag_id": "d"}]})
    assert (asset.uri, asset.extra, asset.producing_dag_ids) == ("u\\n", None, ("d",))
    runs = [{"dag_id": "d", "dag_run_id": "r"}, {"dag_id": "d", "run_id": "s"}, {"dag_id": "d"}]
    body = {"id": 1, "dataset_id": 2, "timestamp": "2026-11-22T07:00:00Z", "extra": None, "created_dagruns": runs}
    event = event_reader("dataset")(body)
    assert event.created_dag_runs == (("d", "r"), ("d", "s"))
    assert event.extra == {}
    with pytest.raises(TypeError, match="timestamp"):
        event_reader("dataset")({**body, "timestamp": "now"})


@pytest.mark.parametrize("name", ["s3://x", None])
def test_a_reference_names_itself(name: str | None) -> None:
    assert str(AssetRef("s3://x")) == "'s3://x'"
    assert str(AssetRef(name="n")) == "'n'"


def test_a_lost_reply_is_looked_for_at_once() -> None:
    remote = ScriptedRemote(faults=["none", "lost after"])
    event = remote.run(remote.deployment.assets.register_event(intent()))
    assert (event.event_id, remote.sent) == (1, ["GET", "POST", "GET", "GET"])
    assert remote.clock.sleeps == []


def test_an_event_that_shows_late_is_found_before_the_request_is_repeated() -> None:
    remote = ScriptedRemote(faults=["none", "504 before"])
    shown = []

    def handle(request: Request) -> Response | TransportError:
        if remote.sent[:2] == ["GET", "POST"] and len(remote.sent) == 5 and not shown:
            shown.append(remote.fake.add_asset_event(URI, {INTENT_KEY: MARK}))
        return remote.handle(request)

    drive(remote.deployment.assets.register_event(intent()), handle, clock=remote.clock)
    assert remote.sent == ["GET", "POST", "GET", "GET", "GET", "GET"]
    assert remote.clock.sleeps == [1, 2]


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_the_listing_shows_which_of_several_assets_there_are(version: str) -> None:
    remote = ScriptedRemote(version)
    several = [URI, "orders", "s3://none"]
    found = remote.run(remote.deployment.assets.listed(several))
    assert found == ({URI} if version == "2.11.2" else {URI, "orders"})
    assert remote.sent == ["GET"]
    # Fewer are read one by one.
    assert remote.run(remote.deployment.assets.listed([URI])) == set()
    assert remote.sent == ["GET"]


# The fake deployment


@pytest.mark.parametrize(
    ("version", "endpoint", "body", "status", "detail"),
    [
        ("2.11.2", "/datasets/events", {"dataset_uri": "s3://none"}, 404, "Dataset with uri: 's3://none' not found"),
        ("2.11.2", "/datasets/events", {"dataset_uri": URI, "asset_id": 1}, 400, "Unknown field"),
        ("3.3.2", "/assets/events", {"asset_uri": URI}, 422, "Unknown field"),
        ("3.3.2", "/assets/events", {"extra": {}}, 422, "Field required"),
        ("3.3.2", "/assets/events", {"asset_id": 99}, 404, "Asset with ID: `99` was not found"),
        ("3.1.8", "/assets/events", {"asset_id": 1, "partition_key": "p"}, 422, "Unknown field"),
        ("3.3.2", "/assets/2/materialize", {}, 404, "No Dag materializes asset with ID: 2"),
        ("3.3.2", "/assets/3/materialize", {}, 409, "More than one Dag materializes asset with ID: 3"),
    ],
)
def test_the_fake_refuses_what_airflow_refuses(
    version: str, endpoint: str, body: dict[str, Any], status: int, detail: str
) -> None:
    remote = ScriptedRemote(version)
    with pytest.raises(PermanentError) as refused:
        remote.run(remote.deployment.call("POST", endpoint, json=body))
    assert refused.value.status == status
    assert detail in str(refused.value.detail)


def test_the_fake_of_airflow_before_3_3_ignores_the_body_of_a_materialization() -> None:
    remote = ScriptedRemote("3.1.8")
    made = remote.run(remote.deployment.call("POST", "/assets/1/materialize", json={"dag_run_id": "mine"}))
    assert made["dag_run_id"].startswith("manual__")


def test_the_fake_of_airflow_2_refuses_a_date_in_a_listing_of_events() -> None:
    remote = ScriptedRemote("2.11.2")
    with pytest.raises(PermanentError, match="timestamp_gte not in spec"):
        remote.run(remote.deployment.call("GET", "/datasets/events", params={"timestamp_gte": "2026-01-01"}))
