"""Flows about assets: find them, list their events, register an event once, materialize."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from difflib import get_close_matches

from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.dialects.base import PAGE, Dialect, Operation, Page
from astronomer_remote.api.protocol.errors import (
    Conflict,
    NotFound,
    NotSupported,
    RemoteError,
    ReplyTooLarge,
    TransientError,
)
from astronomer_remote.api.protocol.flow import Flow, Sleep
from astronomer_remote.api.protocol.ids import INTENT_KEY
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEvent,
    AssetEventIntent,
    AssetRef,
    TriggerIntent,
    parse_date,
    utc_text,
)
from astronomer_remote.api.runs.runs import IfExists, Runs, Triggered

SECONDS_UNTIL_SHOWN = (1, 2, 4)
"""
Pauses between checks whether a request whose reply was lost has registered its event: the remote may still be working
on it, or read from a replica of its database that lags. The request is sent again only after them.
"""

SECONDS_OF_OVERLAP = 60.0
"""How far before the first attempt an event is still looked for: the remote's clock is known to a second at best."""

MOST_EVENTS = 10_000
"""Events of one asset that are read at most."""

MOST_MATCHES = 10_000
"""Assets that are read at most of those that match a pattern."""

MOST_COMPARED = 1_000
"""Assets that are read at most to find similar ones."""

MOST_SIMILAR = 3
"""Similar assets that an error names."""

LONGEST_COMPARED = 256
"""Characters of a URI that are compared with others."""

EXISTS_ONCE = "An asset exists only once a DAG of the remote names it, as an outlet of a task or in a schedule."

ANY = Asset(0, "")
"""Stands for an asset that is not known yet, to check what the remote's version can do."""


class Assets:
    """Assets of one deployment."""

    def __init__(self, client: Client, runs: Runs) -> None:
        self._client = client
        self._runs = runs
        self._known: dict[AssetRef, Asset] = {}

    def list_all(self, uri_pattern: str | None = None) -> Flow[list[Asset]]:
        """
        List every asset.

        :param uri_pattern: only those whose URI contains this text; ``%`` and ``_`` are wildcards.
        """
        dialect = yield from self._client.dialect()
        if uri_pattern is not None:
            return (yield from self._matching(dialect, uri_pattern=uri_pattern))

        def page(offset: int, limit: int) -> Operation[Page[Asset]]:
            return dialect.assets(limit=limit, offset=offset)

        return (yield from self._client.paginate(page, lambda asset: asset.asset_id))

    @one_retry_budget
    def get(self, ref: AssetRef) -> Flow[Asset]:
        """
        Find one asset; it is remembered.

        :raises NotFound: naming assets with a similar URI or name.
        """
        if ref not in self._known:
            found = yield from self._find(ref)
            if found is None:
                raise (yield from self._explain_missing(ref))
            self._known[ref] = found
        return self._known[ref]

    def _find(self, ref: AssetRef) -> Flow[Asset | None]:
        dialect = yield from self._client.dialect()
        if ref.uri is not None:
            found = yield from self._matching(dialect, uri_pattern=ref.uri, target=AssetRef(uri=ref.uri))
            if found:
                return found[-1]
        if ref.name is not None and (dialect.names_assets or ref.uri is None):
            found = yield from self._matching(dialect, name_pattern=ref.name, target=AssetRef(name=ref.name))
            return found[-1] if found else None
        return None

    def _matching(
        self,
        dialect: Dialect,
        *,
        uri_pattern: str | None = None,
        name_pattern: str | None = None,
        target: AssetRef | None = None,
        most: int = MOST_MATCHES,
    ) -> Flow[list[Asset]]:
        """
        List the assets that match a pattern.

        Airflow 2 counts all assets as the total, whatever the pattern. So this reads until a page comes back empty.

        :param target: stop at this one, which is then the last, and return nothing if it is not there.
        """
        found: dict[int, Asset] = {}
        offset = 0
        while offset < most:
            page = yield from self._client.request(
                dialect.assets(uri_pattern=uri_pattern, name_pattern=name_pattern, offset=offset)
            )
            for asset in page.items:
                found[asset.asset_id] = asset
                if target and target.matches(asset):
                    return [asset]
            offset += page.entries
            if not page.entries or offset >= page.total:
                break
        return [] if target else [*found.values()]

    def _explain_missing(self, ref: AssetRef) -> Flow[NotFound]:
        """The error for an asset that the remote does not have."""
        dialect = yield from self._client.dialect()
        try:
            known = yield from self._matching(dialect, most=MOST_COMPARED)
        except RemoteError:
            return NotFound(f"The remote has no asset {ref}. {EXISTS_ONCE}", status=404)
        names = {name[:LONGEST_COMPARED]: name for asset in known for name in (asset.name, asset.uri) if name}
        text = (ref.uri or ref.name or "")[:LONGEST_COMPARED]
        similar = get_close_matches(text, names, n=MOST_SIMILAR)
        hint = f" Similar ones are: {', '.join(repr(names[name]) for name in similar)}." if similar else ""
        nothing = "" if known else " It shows no assets at all to this account."
        return NotFound(f"The remote has no asset {ref}.{hint}{nothing} {EXISTS_ONCE}", status=404)

    @one_retry_budget
    def list_events(
        self,
        asset: Asset | None = None,
        *,
        since: str | None = None,
        most: int,
        until: Callable[[AssetEvent], bool] = lambda event: False,
    ) -> Flow[list[AssetEvent]]:
        """
        List asset events, newest first.

        :param asset: only those of this asset.
        :param since: only those from this moment on, ISO 8601.
        :param most: how many at most.
        :param until: stops the listing at an event, which is then the last.
        """
        dialect = yield from self._client.dialect()
        begin = parse_date(utc_text(since, "since")) if since else None
        found: dict[int, AssetEvent] = {}
        offset, limit = 0, PAGE
        while len(found) < most:
            size = min(limit, most - len(found))
            try:
                page = yield from self._client.request(
                    dialect.asset_events(asset, since=since, limit=size, offset=offset)
                )
            except ReplyTooLarge:
                if limit == 1:
                    raise
                limit = min(limit, size) // 2 or 1
                continue
            # New events come before the ones that were read, so that a page may repeat some, and none is missed.
            for event in page.items:
                if begin and parse_date(utc_text(event.timestamp, "timestamp")) < begin:
                    return [*found.values()]
                found[event.event_id] = event
                if until(event):
                    return [*found.values()]
            offset += page.entries
            if not page.entries or offset >= page.total:
                break
        return [*found.values()]

    def matching_events(self, target: AssetTarget) -> Flow[list[AssetEvent]]:
        """
        The events that a wait is for, oldest first.

        :raises NotFound: for an unknown asset, naming similar ones.
        """
        asset = yield from self.get(target.ref)
        events = yield from self.list_events(asset, since=target.since, most=MOST_EVENTS)
        return [event for event in reversed(events) if target.matches(event)]

    @one_retry_budget
    def register_event(self, intent: AssetEventIntent) -> Flow[AssetEvent]:
        """
        Register an asset event, once however often its request or reply is lost.

        The API has no idempotency key. So the event carries the id of its intent, and before a request is repeated,
        the asset's events since the first attempt are searched for that id.

        :raises NotFound: for an unknown asset, naming similar ones.
        :raises NotSupported: by Airflow before 2.9, and for what the remote's version cannot do.
        """
        dialect = yield from self._client.dialect()
        # Fails for what this version cannot do, before any other request.
        dialect.create_asset_event(ANY, intent)
        asset = yield from self.get(intent.asset)
        began = self._client.clock() if intent.first_attempt is None else intent.first_attempt
        skew = self._client.remote_clock() - self._client.clock()
        since = utc_text(datetime.fromtimestamp(began + skew - SECONDS_OF_OVERLAP, timezone.utc), "since")
        in_doubt = intent.first_attempt is not None
        while True:
            there = (yield from self._own_event(asset, intent.mark, since)) if in_doubt else None
            if there:
                return there
            try:
                return (yield from self._client.request(dialect.create_asset_event(asset, intent)))
            except NotFound:
                before = self._known.pop(intent.asset)
                asset = yield from self.get(intent.asset)
                if asset.asset_id == before.asset_id:
                    raise
                # The remote's database was cleaned since the asset was looked up.
                continue
            except TransientError as error:
                failure = error
            in_doubt = True
            for seconds in SECONDS_UNTIL_SHOWN:
                there = yield from self._own_event(asset, intent.mark, since)
                if there:
                    return there
                yield Sleep(seconds)
            yield from self._client.back_off(failure, by_time=True)

    def _own_event(self, asset: Asset, mark: str, since: str) -> Flow[AssetEvent | None]:
        """
        The event of an asset that carries an intent's id.

        :raises NotSupported: if there are too many events to know.
        """

        def is_own(event: AssetEvent) -> bool:
            return event.extra.get(INTENT_KEY) == mark

        events = yield from self.list_events(asset, since=since, most=MOST_EVENTS, until=is_own)
        if events and is_own(events[-1]):
            return events[-1]
        if len(events) >= MOST_EVENTS:
            raise NotSupported(
                f"Asset {asset.uri!r} has at least {MOST_EVENTS} events since {since}, which is the most that is read. "
                "So it is unknown whether this task has registered its event already. Clear the task to register a "
                "new one."
            )
        return None

    @one_retry_budget
    def materialize(self, ref: AssetRef, intent: TriggerIntent, if_exists: IfExists) -> Flow[Triggered]:
        """
        Trigger the one DAG that produces an asset, once however often the request or its reply is lost.

        :param intent: the run to trigger; its DAG and asset are filled in here.
        :raises NotFound: for an unknown asset, or one that no DAG produces.
        :raises Conflict: if several DAGs produce it; it names them.
        """
        dialect = yield from self._client.dialect()
        asset = yield from self.get(ref)
        if not asset.producing_dag_ids:
            raise NotFound(f"No DAG of the remote produces asset {ref}: none has a task with it as an outlet.")
        if len(asset.producing_dag_ids) > 1:
            names = ", ".join(map(repr, sorted(asset.producing_dag_ids)))
            raise Conflict(f"Several DAGs of the remote produce asset {ref}: {names}. Trigger one of them by its id.")
        asset_id = asset.asset_id if dialect.materializes_with_body else None
        intent = replace(intent, dag_id=asset.producing_dag_ids[0], asset_id=asset_id)
        return (yield from self._runs.ensure(intent, if_exists))
