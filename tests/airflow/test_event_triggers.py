"""Triggers of asset watchers: each event of a remote is passed on once, and what was passed on is stored."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.protocol.errors import AuthenticationFailed
from astronomer_remote.api.waiting import event_cursor
from astronomer_remote.api.waiting.event_cursor import KEY_LENGTH, EventCursor
from astronomer_remote.api.watch import shared
from astronomer_remote.api.watch.asset_watcher import EventFeed
from astronomer_remote.api.watch.event_sources import AssetEvents
from astronomer_remote.compat import AIRFLOW_3, store_state, stored_state
from astronomer_remote.exceptions import InvalidSettings
from astronomer_remote.testing import FakeDeployment

Start = Callable[..., FakeDeployment]

if not AIRFLOW_3:

    def test_airflow_2_has_no_watchers() -> None:
        with pytest.raises(ImportError, match="In Airflow 2, use a DAG with RemoteAssetSensor"):
            import astronomer_remote.assets  # noqa: F401  # only for the error
        from astronomer_remote.triggers.event import RemoteDagRunTrigger

        with pytest.raises(ImportError, match="needs Airflow 3"):
            RemoteDagRunTrigger(dag_id="load")

    pytest.skip("the rest needs Airflow 3", allow_module_level=True)

from airflow.sdk import Asset  # noqa: E402  # Airflow 3 only
from airflow.triggers.base import BaseEventTrigger  # noqa: E402  # Airflow 3 only

from astronomer_remote.assets import remote_asset, remote_dag_asset  # noqa: E402  # Airflow 3 only
from astronomer_remote.triggers import event as event_triggers  # noqa: E402  # Airflow 3 only
from astronomer_remote.triggers.event import RemoteAssetEventTrigger, RemoteDagRunTrigger  # noqa: E402  # Airflow 3 only

URI = "s3://shop/orders"
LONG_AGO = "2020-01-01T00:00:00Z"


class Store:
    """The state store of the asset "mine" of Airflow 3.3."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.failures = 0

    def __getitem__(self, asset: Any) -> Store:
        assert asset.name == "mine"
        return self

    def _check(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the database is locked")

    async def aget(self, key: str) -> Any:
        self._check()
        return json.loads(json.dumps(self.values.get(key)))

    async def aset(self, key: str, value: Any) -> None:
        self._check()
        self.values[key] = value


class Supervisor:
    """What a triggerer lets its triggers read and write: variables and, in Airflow 3.3, the state stores of assets."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self.stores: dict[str, dict[str, Any]] = {}

    async def asend(self, message: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time import comms

        if message.type == "GetAssetStateStoreByName":
            stored = self.stores.get(message.name, {})
            if message.key not in stored:
                return comms.ErrorResponse(error=ErrorType.ASSET_STORE_NOT_FOUND)
            return comms.AssetStateStoreResult(value=stored[message.key])
        if message.type == "SetAssetStateStoreByName":
            self.stores.setdefault(message.name, {})[message.key] = message.value
            return comms.OKResponse(ok=True)
        if isinstance(message, comms.PutVariable):
            self.variables[message.key] = str(message.value)
            return None
        if message.key == "forbidden":
            return comms.ErrorResponse(error=ErrorType.PERMISSION_DENIED)
        if message.key not in self.variables:
            return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
        return comms.VariableResult(key=message.key, value=self.variables[message.key])


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    from airflow.sdk.execution_time import task_runner

    found = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", found, raising=False)
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor) -> None:
    monkeypatch.setattr(event_triggers, "SECONDS_PER_TURN", 0.01)
    monkeypatch.setattr(event_triggers, "TURNS_TO_SETTLE", 0)


@pytest.fixture(params=["2.11.2", "3.3.2"])
def shop(request: pytest.FixtureRequest, start: Start) -> FakeDeployment:
    remote = start(request.param)
    remote.add_asset(URI)
    remote.add_dag("load")
    return remote


def trigger(store: Any, kind: type[Any] = RemoteAssetEventTrigger, **arguments: Any) -> Any:
    """A trigger as a triggerer makes it."""
    if kind is RemoteAssetEventTrigger:
        arguments = {"uri": URI, **arguments}
    arguments = {"poke_interval": 0.05, "since": LONG_AGO, "local_asset": "mine", **arguments}
    path, kwargs = kind(**arguments).serialize()
    assert path == f"{kind.__module__}.{kind.__name__}"
    made = kind(**json.loads(json.dumps(kwargs)))
    made.asset_state_store = store
    return made


def passed_on(
    made: Any, *, seconds: float = 15.0, until: int | None = None, done: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """
    What a trigger passes on, until its triggerer is killed: a while after the last event.

    :param done: is checked now and then; if true, it is killed at once.
    """
    found: list[dict[str, Any]] = []

    async def run() -> None:
        async for event in made.run():
            found.append(json.loads(json.dumps(event.payload)))
            if until is not None and len(found) >= until:
                return

    async def kill() -> None:
        running = asyncio.create_task(run())
        known, since, began = 0, time.monotonic(), time.monotonic()
        while not running.done() and time.monotonic() < began + seconds:
            await asyncio.sleep(0.05)
            if len(found) > known:
                known, since = len(found), time.monotonic()
            if done() or (found and time.monotonic() > since + 1):
                break
        running.cancel()

    asyncio.run(kill())
    return found


def trigger_of(asset: Asset) -> Any:
    return asset.watchers[0].trigger


def keys_in(cursor: dict[str, Any]) -> int:
    """How many events a stored cursor knows."""
    return len("".join(cursor["seen"].values())) // KEY_LENGTH


def numbers(found: list[dict[str, Any]]) -> list[int]:
    return [payload["extra"]["n"] for payload in found]


def test_events_are_passed_on_once_over_restarts(shop: FakeDeployment) -> None:
    store = Store()
    for n in range(3):
        shop.add_asset_event(URI, {"n": n})
    assert numbers(passed_on(trigger(store))) == [0, 1, 2]
    shop.add_asset_event(URI, {"n": 3})
    assert numbers(passed_on(trigger(store))) == [3]
    assert passed_on(trigger(store), seconds=1) == []


def test_events_that_were_not_registered_are_passed_on_again(shop: FakeDeployment) -> None:
    store = Store()
    for n in range(3):
        shop.add_asset_event(URI, {"n": n})
    # Killed before Airflow has registered them.
    assert numbers(passed_on(trigger(store), until=2)) == [0, 1]
    assert numbers(passed_on(trigger(store))) == [0, 1, 2]


def test_events_while_the_first_cursor_is_being_stored_count(shop: FakeDeployment) -> None:
    class Slow(Store):
        async def aget(self, key: str) -> Any:
            if not self.values:
                await asyncio.sleep(2)
                shop.add_asset_event(URI, {"n": 0})
                await asyncio.sleep(2)
            return await super().aget(key)

    assert numbers(passed_on(trigger(Slow(), since=None), until=1)) == [0]


@pytest.mark.parametrize("skew", [0, -3600, 3600])
def test_the_first_start_begins_now_by_the_clock_of_the_remote(start: Start, skew: int) -> None:
    ahead = [skew - 30]
    remote = start("3.3.2", clock=lambda: time.time() + ahead[0])
    remote.add_asset(URI)
    remote.add_asset_event(URI, {"n": 0})
    ahead[0] = skew
    store = Store()
    assert passed_on(trigger(store, since=None), seconds=0.5) == []
    (cursor,) = store.values.values()
    assert cursor == {"since": pytest.approx(time.time() + skew, abs=5), "seen": {}}
    remote.add_asset_event(URI, {"n": 1})
    assert numbers(passed_on(trigger(store, since=None))) == [1]


def test_the_first_start_is_remembered_before_the_remote_answers(start: Start) -> None:
    remote = start("3.3.2", clock=lambda: time.time() - 3600)
    remote.add_asset(URI)
    remote.disturb(503, times=1000)
    store = Store()
    assert passed_on(trigger(store, since=None), seconds=0.5) == []
    (cursor,) = store.values.values()
    assert cursor == {"since": pytest.approx(time.time(), abs=5), "seen": {}, "by_local_clock": True}
    # It happens before the restart.
    remote.add_asset_event(URI, {"n": 0})
    remote._disturbances.clear()
    assert numbers(passed_on(trigger(store, since=None))) == [0]


def test_what_another_triggerer_passed_on_is_not_repeated(shop: FakeDeployment) -> None:
    store = Store()
    shop.add_asset_event(URI, {"n": 0})

    async def run() -> list[Any]:
        first, second = trigger(store).run(), trigger(store).run()
        one = await anext(first)
        # It stores that, and polls again.
        waiting = asyncio.create_task(anext(first))
        await asyncio.sleep(0.5)
        other = asyncio.create_task(anext(second))
        await asyncio.sleep(0.5)
        assert not other.done()
        shop.add_asset_event(URI, {"n": 1})
        return [one, await waiting]

    found = asyncio.run(run())
    assert numbers([event.payload for event in found]) == [0, 1]


@pytest.mark.parametrize("since", [None, LONG_AGO, "2200-01-01T00:00:00Z"])
def test_events_count_after_the_clock_of_the_remote_was_set_back(
    start: Start, since: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    ahead = [7200]
    remote = start("3.3.2", clock=lambda: time.time() + ahead[0])
    remote.add_asset(URI)
    store = Store()

    def stored() -> list[float]:
        # By the clock of the remote, after a poll.
        return [found["since"] for found in store.values.values() if found["since"] > time.time() + 3600]

    assert passed_on(trigger(store, since=since), done=lambda: bool(stored())) == []
    ahead[0] = 0
    remote.add_asset_event(URI, {"n": 0})
    in_2200 = since == "2200-01-01T00:00:00Z"
    polls = len(remote.requests)
    done = (lambda: len(remote.requests) > polls + 5) if in_2200 else (lambda: False)
    # Before the moment that was given, no event counts.
    assert numbers(passed_on(trigger(store, since=since), done=done)) == ([] if in_2200 else [0])
    assert ("The clock of the remote was set back" in "".join(capfd.readouterr())) is not in_2200


@pytest.mark.parametrize(("since", "listed_at", "ahead"), [(1000.9, 1000.0, False), (1100.0, 1000.0, True)])
def test_a_clock_that_is_known_to_a_second_was_not_set_back(since: float, listed_at: float, ahead: bool) -> None:
    assert trigger(None, since=None)._is_ahead(EventCursor(since), listed_at) is ahead


def test_events_that_a_cursor_cannot_contain_are_reported_once(
    shop: FakeDeployment, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(event_cursor, "LARGEST_CURSOR", 1)
    monkeypatch.setattr(event_triggers, "EVENTS_AT_ONCE", 1)
    for number in range(3):
        shop.add_asset_event(URI, {"n": number})
        made = shop._contents.asset_events[-1]
        shop._contents.asset_events[-1] = replace(made, timestamp=made.timestamp - timedelta(minutes=3 - number))
    store = Store()
    assert numbers(passed_on(trigger(store))) == [0, 1, 2]
    assert "".join(capfd.readouterr()).count("There are more events than a cursor contains.") == 1
    assert passed_on(trigger(store), seconds=0.5) == []


def test_before_3_3_the_cursor_is_a_variable(shop: FakeDeployment, supervisor: Supervisor) -> None:
    shop.add_asset_event(URI, {"n": 0})
    assert numbers(passed_on(trigger(None))) == [0]
    (key,) = supervisor.variables
    assert key == trigger(None).cursor_key
    assert len(json.loads(supervisor.variables[key])["seen"]) == 1
    assert passed_on(trigger(None), seconds=0.5) == []
    # Airflow is upgraded.
    store = Store()
    assert passed_on(trigger(store), seconds=0.5) == []


async def stored_and_read(made: Any) -> Any:
    await store_state(made, "k", {"a": 1})
    return await stored_state(made, "k")


def test_the_cursor_stays_where_it_is_when_the_trigger_gets_another_asset(supervisor: Supervisor) -> None:
    context = pytest.importorskip("airflow.sdk.execution_time.context")
    if not hasattr(context, "AssetStateStoreAccessors"):
        pytest.skip("Airflow 3.3 only")
    mine, other = Asset("mine"), Asset("other")
    one, several = (trigger(context.AssetStateStoreAccessors(inlets=given)) for given in ([mine], [other, mine]))
    assert asyncio.run(stored_and_read(one)) == {"a": 1}
    assert supervisor.stores == {"mine": {"k": {"a": 1}}}
    assert asyncio.run(stored_state(several, "k")) == {"a": 1}
    assert asyncio.run(stored_and_read(several)) == {"a": 1}
    assert (list(supervisor.stores), supervisor.variables) == (["mine"], {})
    with pytest.raises(ValueError, match="local_asset is 'mine', which is none of the assets"):
        asyncio.run(stored_state(trigger(context.AssetStateStoreAccessors(inlets=[other])), "k"))


def test_a_trigger_that_does_not_know_its_asset_uses_a_variable(supervisor: Supervisor) -> None:
    made = trigger(Store(), local_asset=None)
    assert asyncio.run(stored_and_read(made)) == {"a": 1}
    assert supervisor.variables == {"k": '{"a": 1}'}


@pytest.mark.parametrize("value", ["no JSON", "[1]", '{"since": "x"}', '{"since": 1e99, "seen": {}}', "[" * 20_000])
@pytest.mark.parametrize("since", [None, LONG_AGO])
def test_a_damaged_cursor_repeats_events_rather_than_none(
    shop: FakeDeployment,
    supervisor: Supervisor,
    value: str,
    since: str | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = trigger(None, since=since)
    supervisor.variables[made.cursor_key] = value
    shop.add_asset_event(URI, {"n": 0})
    assert numbers(passed_on(made, until=1)) == [0]
    assert f"The stored cursor {made.cursor_key} cannot be read, starting over" in "".join(capfd.readouterr())
    assert json.loads(supervisor.variables[made.cursor_key])["seen"] == {}


@pytest.fixture
def home(start: Start) -> FakeDeployment:
    """The local deployment, as its own API shows it."""
    local = start("3.3.2", "home")
    local.add_asset("astronomer-remote://mine", name="mine")
    return local


def register(home: FakeDeployment, payload: dict[str, Any]) -> None:
    home.add_asset_event("astronomer-remote://mine", {"from_trigger": True, "payload": payload})


def test_what_was_registered_before_a_crash_is_not_repeated(shop: FakeDeployment, home: FakeDeployment) -> None:
    for n in range(3):
        shop.add_asset_event(URI, {"n": n})
    store = Store()
    home.add_asset_event("astronomer-remote://mine", {"by": "a person"})
    # Killed after two were registered, and before that was stored.
    for payload in passed_on(trigger(store), until=2):
        register(home, payload)
    assert numbers(passed_on(trigger(store, local_conn_id="home"))) == [2]
    (cursor,) = store.values.values()
    assert keys_in(cursor) == 3
    assert passed_on(trigger(store), seconds=0.5) == []


def test_the_end_of_a_run_that_was_registered_is_not_repeated(shop: FakeDeployment, home: FakeDeployment) -> None:
    shop.add_run("load", "r1")
    store = Store()
    (payload,) = passed_on(trigger(store, RemoteDagRunTrigger, dag_id="load"), until=1)
    register(home, payload)
    made = trigger(store, RemoteDagRunTrigger, dag_id="load", local_conn_id="home")
    assert passed_on(made, done=lambda: any(map(keys_in, store.values.values()))) == []
    (cursor,) = store.values.values()
    assert keys_in(cursor) == 1


def test_what_was_registered_is_found_whatever_the_clock_of_the_remote_shows(
    start: Start, home: FakeDeployment
) -> None:
    remote = start("3.3.2", clock=lambda: time.time() + 7200)
    remote.add_asset(URI)
    remote.add_asset_event(URI, {"n": 0})
    store = Store()
    (payload,) = passed_on(trigger(store), until=1)
    register(home, payload)
    assert passed_on(trigger(store, local_conn_id="home"), seconds=0.5) == []


def test_no_event_is_passed_on_while_the_local_deployment_does_not_answer(
    shop: FakeDeployment, home: FakeDeployment
) -> None:
    shop.add_asset_event(URI, {"n": 0})
    home.disturb(403, times=1000)
    store = Store()
    assert passed_on(trigger(store, local_conn_id="home"), seconds=0.5) == []
    home._disturbances.clear()
    assert numbers(passed_on(trigger(store, local_conn_id="home"))) == [0]


def test_many_triggers_read_their_connection_once(shop: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    from astronomer_remote.hooks.astronomer import AstronomerHook

    reads: list[str] = []
    read = AstronomerHook._read_settings

    def counted(self: AstronomerHook, *parts: Any) -> Any:
        reads.append(self.astronomer_conn_id)
        time.sleep(0.2)
        return read(self, *parts)

    monkeypatch.setattr(AstronomerHook, "_read_settings", counted)
    shop.add_asset_event(URI, {"n": 0})

    async def run() -> None:
        triggers = [trigger(None, local_asset=f"mine {number}") for number in range(50)]
        running = [asyncio.create_task(anext(each.run())) for each in triggers]
        assert numbers([event.payload for event in await asyncio.gather(*running)]) == [0] * 50

    asyncio.run(run())
    assert reads == ["astronomer_default"]


def test_a_remote_that_has_moved_is_found_although_the_old_one_does_not_answer(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "RETRY", RetryPolicy(attempts=1))
    old = start("3.3.2")
    old.disturb(503, times=10_000)
    moved: list[FakeDeployment] = []

    def move() -> bool:
        if old.requests and not moved:
            new = start("3.3.2")
            new.add_asset(URI)
            new.add_asset_event(URI, {"n": 0})
            moved.append(new)
        return False

    assert numbers(passed_on(trigger(Store()), seconds=60, done=move, until=1)) == [0]


def test_a_login_that_was_refused_is_known_to_the_next_attempt(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = start("3.3.2")
    monkeypatch.setenv("AIRFLOW_CONN_ASTRONOMER_DEFAULT", json.dumps({**remote.connection(), "password": "wrong"}))
    feeds: list[int] = []
    refused: list[str] = []
    make, poll = EventFeed.__init__, AssetEvents.poll

    def made(self: EventFeed, *arguments: Any) -> None:
        make(self, *arguments)
        feeds.append(id(self))

    async def refuse(self: AssetEvents, *arguments: Any) -> Any:
        try:
            return await poll(self, *arguments)
        except AuthenticationFailed as error:
            refused.append(str(error))
            raise

    monkeypatch.setattr(EventFeed, "__init__", made)
    monkeypatch.setattr(AssetEvents, "poll", refuse)
    assert passed_on(trigger(Store()), seconds=60, done=lambda: len(refused) >= 4) == []
    assert (len(refused) >= 4, len(feeds)) == (True, 1)
    assert [path for method, path in remote.requests if method == "POST"] == ["/auth/token"]


def test_a_variable_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="Could not read variable forbidden"):
        asyncio.run(stored_state(trigger(None), "forbidden"))


def test_a_trigger_survives_whatever_fails(shop: FakeDeployment, capfd: pytest.CaptureFixture[str]) -> None:
    shop.add_asset_event(URI, {"n": 0})
    store = Store()
    store.failures = 2
    shop.disturb(403, times=2, path="events")
    assert numbers(passed_on(trigger(store), seconds=8, until=1)) == [0]
    assert "Could not poll the remote, will try again in 0 s" in "".join(capfd.readouterr())


def test_an_unknown_asset_is_waited_for(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    remote = start("3.3.2")

    async def run() -> Any:
        waiting = asyncio.create_task(anext(trigger(Store()).run()))
        await asyncio.sleep(0.5)
        remote.add_asset(URI)
        remote.add_asset_event(URI, {"n": 0})
        return (await waiting).payload

    assert numbers([asyncio.run(run())]) == [0]
    assert "has no asset" in "".join(capfd.readouterr())


def test_a_cursor_that_cannot_be_stored_is_stored_later(
    shop: FakeDeployment, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.add_asset_event(URI, {"n": 0})
    store = Store()

    async def run() -> None:
        events = trigger(store).run()
        await anext(events)
        store.failures = 1
        more = asyncio.create_task(anext(events))
        await asyncio.sleep(1)
        more.cancel()

    asyncio.run(run())
    assert "Could not store which events were passed on: the database is locked" in "".join(capfd.readouterr())
    assert passed_on(trigger(store), seconds=0.5) == []


def test_the_end_of_a_run_is_passed_on(shop: FakeDeployment) -> None:
    store = Store()
    shop.add_run("load", "r1", conf={"k": 1})
    shop.add_run("load", "r2", state="failed")
    (payload,) = passed_on(trigger(store, RemoteDagRunTrigger, dag_id="load"))
    assert (payload["kind"], payload["run_id"], payload["state"], payload["conf"]) == (
        "dag_run",
        "r1",
        "success",
        {"k": 1},
    )
    assert payload["url"].startswith(shop.url)
    both = trigger(Store(), RemoteDagRunTrigger, dag_id="load", states=["failed", "success"])
    assert sorted(payload["run_id"] for payload in passed_on(both)) == ["r1", "r2"]


def test_local_assets_are_named_after_what_they_watch() -> None:
    one, other = remote_asset(URI), remote_dag_asset("load", astronomer_conn_id="there")
    assert (one.name, other.name) == (f"astronomer_default:{URI}", "there:load")
    assert one.uri == "astronomer-remote://astronomer_default/asset/s3%3A%2F%2Fshop%2Forders"
    assert other.uri == "astronomer-remote://there/dag/load"
    named = remote_asset(asset=Asset("orders", URI), extra={"k": 1}, name="mine")
    assert named.name == "mine"
    assert named.uri == "astronomer-remote://astronomer_default/asset/s3%3A%2F%2Fshop%2Forders/mine"
    assert (trigger_of(named).uri, trigger_of(named).extra) == (URI, {"k": 1})
    by_name = trigger_of(remote_asset(asset="orders"))
    restored = type(by_name)(**by_name.serialize()[1])
    assert (restored.name, restored.serialize()) == ("orders", by_name.serialize())


def test_triggers_that_watch_the_same_are_one() -> None:
    one, same, other = (trigger_of(remote_asset(URI, extra={"k": k})) for k in (1, 1, 2))
    assert BaseEventTrigger.hash(*one.serialize()) == BaseEventTrigger.hash(*same.serialize())
    assert BaseEventTrigger.hash(*one.serialize()) != BaseEventTrigger.hash(*other.serialize())
    assert one.cursor_key == same.cursor_key != other.cursor_key
    mine, plain = (trigger_of(remote_asset(URI, name=name)) for name in ("mine", None))
    assert mine.cursor_key != plain.cursor_key
    assert (mine.local_asset, plain.local_asset) == ("mine", f"astronomer_default:{URI}")
    by_hand = RemoteAssetEventTrigger(uri=URI, local_asset=Asset("mine"))
    assert by_hand.cursor_key == mine.cursor_key


def test_a_dag_with_a_watched_asset_can_be_serialized() -> None:
    from airflow.sdk import DAG

    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:
        # Airflow 3.0 and 3.1.
        from airflow.serialization.serialized_objects import SerializedDAG as Serialization  # type: ignore[attr-defined,no-redef,assignment]

    with DAG("watches", schedule=[remote_asset(URI), remote_dag_asset("load")]) as dag:
        pass
    text = json.dumps(Serialization.to_dict(dag))
    assert "astronomer_remote.triggers.event.RemoteAssetEventTrigger" in text
    assert "astronomer_remote.triggers.event.RemoteDagRunTrigger" in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: remote_asset(), "uri"),
        (lambda: remote_asset(URI, since="soon"), "since"),
        (lambda: remote_asset(URI, poke_interval=0), "poke_interval"),
        (lambda: remote_asset(URI, extra="no"), "extra"),
        (lambda: remote_asset(URI, local_conn_id="../x"), "local_conn_id"),
        (lambda: RemoteAssetEventTrigger(uri=URI, local_conn_id="home"), "local_conn_id needs local_asset"),
        (lambda: RemoteAssetEventTrigger(uri=URI, local_asset=7.5), "local_asset"),
        (lambda: remote_dag_asset(""), "dag_id"),
        (lambda: remote_dag_asset("load", states=["running"]), "states contains 'running'"),
        (lambda: remote_dag_asset("load", states=[]), "states must contain success, failed, or both"),
    ],
)
def test_bad_arguments_fail_while_the_dag_is_parsed(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidSettings, match=message):
        make()


class RunnerComms(Supervisor):
    """What the process of a triggerer that runs triggers sends to its other process, which registers events."""

    _reader_task: asyncio.Task[Any]

    def __init__(self, start: Any) -> None:
        super().__init__()
        self.to_start = [start]
        self.order: list[str] = []
        self.stored = asyncio.Event()

    async def asend(self, message: Any) -> Any:
        if message.type == "TriggerStateChanges":
            from airflow.jobs.triggerer_job_runner import messages

            self.order.extend(["handed over"] * len(message.events or ()))
            given = [self.to_start.pop()] if self.to_start else []
            return messages.TriggerStateSync(to_create=given, to_cancel=set())
        reply = await super().asend(message)
        if message.type == "PutVariable" and json.loads(message.value)["seen"]:
            self.order.append("stored")
            self.stored.set()
        return reply


class Announced(deque[Any]):
    """The events that a triggerer has not handed over."""

    def __init__(self) -> None:
        super().__init__()
        self.is_filled = asyncio.Event()

    def append(self, event: Any) -> None:
        super().append(event)
        self.is_filled.set()


async def in_a_triggerer(made: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """
    Run a trigger as Airflow does, in a triggerer that starts many others as soon as this one has passed on an event.

    :return: what the triggerer's other process got, in order, until the cursor was stored.
    """
    from airflow.jobs.triggerer_job_runner import TriggerRunner
    from airflow.models.trigger import Trigger
    from airflow.sdk.execution_time import task_runner

    workloads: Any = import_module("airflow.executors.workloads")
    classpath, arguments = made.serialize()
    encrypted = Trigger.encrypt_kwargs(arguments)
    comms = RunnerComms(workloads.RunTrigger(id=7, classpath=classpath, encrypted_kwargs=encrypted))
    events = Announced()

    class Busy(TriggerRunner):
        async def init_comms(self) -> None:
            self.comms_decoder, self.events = comms, events
            comms._reader_task = asyncio.create_task(asyncio.Event().wait())
            monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)

        async def create_triggers(self) -> None:
            await super().create_triggers()
            await events.is_filled.wait()
            for _ in range(2000):
                await asyncio.sleep(0)

    running = asyncio.create_task(Busy().arun())
    await asyncio.wait_for(comms.stored.wait(), 60)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(running, *others, return_exceptions=True)
    return comms.order


def test_the_cursor_is_stored_after_the_events_however_busy_the_triggerer_is(
    shop: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_triggers, "SECONDS_PER_TURN", 0.0)
    monkeypatch.setattr(event_triggers, "TURNS_TO_SETTLE", 12)
    shop.add_asset_event(URI, {"n": 0})
    shop.add_asset_event(URI, {"n": 1})
    order = asyncio.run(in_a_triggerer(trigger(None), monkeypatch))
    assert order == ["handed over", "handed over", "stored"]


def test_a_cancelled_trigger_reads_the_answer_of_its_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.execution_time import task_runner

    from astronomer_remote.compat import stored_state

    read: list[Any] = []

    class Slow(Supervisor):
        async def asend(self, message: Any) -> Any:
            await asyncio.sleep(0.05)
            read.append(message)
            return await super().asend(message)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Slow(), raising=False)

    async def cancel() -> None:
        reading = asyncio.create_task(stored_state(trigger(None), "key"))
        await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert read == []
        await asyncio.sleep(0.1)
        assert len(read) == 1

    asyncio.run(cancel())


def test_a_backlog_is_stored_piece_by_piece(monkeypatch: pytest.MonkeyPatch, shop: FakeDeployment) -> None:
    monkeypatch.setattr(event_triggers, "EVENTS_AT_ONCE", 2)
    for number in range(5):
        shop.add_asset_event(URI, {"n": number})
    store = Store()
    sizes: list[int] = []
    original = store.aset

    async def aset(key: str, value: Any) -> None:
        sizes.append(keys_in(value))
        await original(key, value)

    monkeypatch.setattr(store, "aset", aset)
    assert numbers(passed_on(trigger(store), until=None)) == [0, 1, 2, 3, 4]
    assert [size for size in sizes if size][:3] == [2, 4, 5]


def test_a_dag_that_does_not_exist_is_logged(shop: FakeDeployment, capfd: pytest.CaptureFixture[str]) -> None:
    made = trigger(Store(), RemoteDagRunTrigger, dag_id="lod")
    assert passed_on(made, seconds=1.0) == []
    assert "'lod'" in "".join(capfd.readouterr())
