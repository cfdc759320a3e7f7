"""Assets and their events as the fakes of Airflow 2's and Airflow 3's REST APIs have them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from fnmatch import translate
from re import IGNORECASE, compile
from typing import Any

from astronomer_remote.testing.base import Endpoint, moment
from astronomer_remote.testing.contents import FakeAsset, FakeAssetEvent
from astronomer_remote.testing.runs import RunApi
from astronomer_remote.testing.server import RecordedRequest, Reply


class AssetApi(RunApi):
    """Subclasses hold what differs."""

    asset_word: str
    """What the generation calls an asset."""
    assets_since: tuple[int, ...]
    """First version that has assets."""
    asset_events_since: tuple[int, ...]
    """First version that registers their events through the API."""

    def endpoints(self) -> Iterable[Endpoint]:
        table = [*super().endpoints()]
        if self.version >= self.assets_since:
            found: list[Endpoint] = [
                ("GET", f"/{self.asset_word}s", self.list_assets),
                ("GET", f"/{self.asset_word}s/events", self.list_asset_events),
            ]
            if self.version >= self.asset_events_since:
                found.append(("POST", f"/{self.asset_word}s/events", self.create_asset_event))
            table += self.below_prefix(found)
        return table

    @abstractmethod
    def asset_json(self, asset: FakeAsset) -> dict[str, Any]:
        """An asset as this version describes it."""

    @abstractmethod
    def asset_event_json(self, event: FakeAssetEvent) -> dict[str, Any]:
        """An event as this version describes it."""

    @abstractmethod
    def asset_of_event(self, body: Mapping[str, Any]) -> FakeAsset:
        """The asset that the body of a new event names."""

    def event_fields(self) -> Collection[str]:
        """Fields that the body of a new event may have."""
        return ("extra",)

    def list_assets(self, request: RecordedRequest) -> Reply:
        found = [asset for asset in self.contents.assets if self.is_meant_asset(asset, request)]
        return self.page(f"{self.asset_word}s", found, self.asset_json, request)

    def is_meant_asset(self, asset: FakeAsset, request: RecordedRequest) -> bool:
        """Whether the patterns of a request match an asset."""
        patterns = {"uri_pattern": asset.uri, "name_pattern": asset.name}
        return all(_is_like(value, request.query[name][0]) for name, value in patterns.items() if name in request.query)

    def list_asset_events(self, request: RecordedRequest) -> Reply:
        found = [event for event in self.contents.asset_events if self.is_meant_event(event, request)]
        if request.query.get("order_by") == ["-timestamp"]:
            found.reverse()
        return self.page(f"{self.asset_word}_events", found, self.asset_event_json, request)

    def is_meant_event(self, event: FakeAssetEvent, request: RecordedRequest) -> bool:
        """Whether the filters of a request leave an event in."""
        of = request.query.get(f"{self.asset_word}_id")
        return of is None or int(of[0]) == event.asset.asset_id

    def create_asset_event(self, request: RecordedRequest) -> Reply:
        body = request.json()
        unknown = set(body) - set(self.event_fields())
        if unknown:
            raise self.refuse(self.unreadable, f"Unknown field(s): {', '.join(sorted(unknown))}")
        event = self.contents.add_asset_event(
            self.asset_of_event(body), {**body.get("extra", {}), "from_rest_api": True}, body.get("partition_key")
        )
        return Reply(200, self.asset_event_json(event))

    def reference(self, asset: FakeAsset, dag_id: str, task_id: str | None = None) -> dict[str, Any]:
        """A DAG, or a task of it, that names an asset."""
        date = self.date(asset.added)
        task = {"task_id": task_id} if task_id else {}
        return {"dag_id": dag_id, **task, "created_at": date, "updated_at": date}

    def event_source(self, event: FakeAssetEvent) -> dict[str, Any]:
        """What an event says of where it comes from, alike in both generations."""
        return {
            "id": event.event_id,
            f"{self.asset_word}_id": event.asset.asset_id,
            "extra": event.extra,
            "source_dag_id": None,
            "source_task_id": None,
            "source_run_id": None,
            "source_map_index": -1,
            "created_dagruns": [],
            "timestamp": self.date(event.timestamp),
        }


def is_since(event: FakeAssetEvent, request: RecordedRequest) -> bool:
    """Whether an event is not older than ``timestamp_gte``."""
    since = request.query.get("timestamp_gte")
    return since is None or event.timestamp >= moment(since[0])


def _is_like(value: str, pattern: str) -> bool:
    """SQL's ``ILIKE '%pattern%'``, as the databases of Airflow do it."""
    glob = "".join({"%": "*", "_": "?"}.get(letter, f"[{letter}]" if letter in "*?[" else letter) for letter in pattern)
    return bool(compile(translate(f"*{glob}*"), IGNORECASE).match(value))
