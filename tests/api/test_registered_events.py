"""What the local deployment has registered is read with one login, whatever else its assets have."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from astronomer_remote.api.client import client
from astronomer_remote.api.protocol.errors import AuthenticationFailed
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.watch.event_sources import key_of
from astronomer_remote.api.watch.registered_events import RegisteredEvents
from astronomer_remote.testing import FakeDeployment

URI = "astronomer-remote://mine"


def payload(number: int) -> dict[str, Any]:
    return {"kind": "asset_event", "event_id": number, "timestamp": "2026-01-01T00:00:00Z"}


def registered(home: FakeDeployment, password: str = "admin") -> RegisteredEvents:
    settings = Settings(home.url, login="admin", password=password)

    async def reload() -> Settings:
        return settings

    return RegisteredEvents.of(settings, reload)


def home_of(count: int, blob: str = "") -> FakeDeployment:
    home = FakeDeployment("3.3.2")
    home.add_asset(URI, name="mine")
    for number in range(count):
        home.add_asset_event(URI, {"payload": payload(number), "blob": blob})
    for extra in ({}, {"payload": None}, {"payload": {"kind": "other"}}, {"payload": {**payload(1), "timestamp": "?"}}):
        home.add_asset_event(URI, extra)
    return home


def logins(home: FakeDeployment) -> int:
    return sum(path == "/auth/token" for _, path in home.requests)


def test_events_are_known_by_their_keys_however_large_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LARGEST_LISTING", 100_000)
    with home_of(120, "x" * 2000) as home:

        async def read() -> None:
            keys = [key_of(payload(number)) for number in (0, 119, 120)]
            assert await registered(home).known("mine", keys, 0.0) == set(keys[:2])
            assert await registered(home).known("mine", keys, time.time() + 60) == set()
            before = len(home.requests)
            source = registered(home)
            await source.known("mine", keys[1:2], 0.0)
            # It was on the first page.
            pages = [path for _, path in home.requests[before:] if path.endswith("assets/events")]
            assert len(pages) == 1

        asyncio.run(read())


def test_a_login_that_is_refused_counts_for_all_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with home_of(1) as home:

        async def read() -> None:
            shared = [registered(home, "wrong") for _ in range(20)]
            known = [each.known("mine", ["a"], 0.0) for each in shared]
            outcomes = await asyncio.gather(*known, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [AuthenticationFailed] * 20
            assert logins(home) == 1
            shared[0]._refused_at -= 301
            with pytest.raises(AuthenticationFailed):
                await shared[0].known("mine", ["a"], 0.0)
            assert logins(home) == 2

        asyncio.run(read())
