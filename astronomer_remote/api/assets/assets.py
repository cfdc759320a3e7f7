"""Flows about assets: find them, list their events, register an event once, materialize."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.client.paging import LISTING_ATTEMPTS, PageReader
from astronomer_remote.api.dialects.base import Dialect, Operation, Page
from astronomer_remote.api.protocol.errors import (
    Conflict,
    ListingChanged,
    NotFound,
    NotSupported,
    RemoteError,
    TransientError,
)
from astronomer_remote.api.protocol.flow import Flow, Sleep, compute
from astronomer_remote.api.protocol.ids import INTENT_KEY
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEvent,
    AssetEventIntent,
    AssetNumber,
    AssetRef,
    TriggerIntent,
    parse_date,
    utc_text,
    utc_text_of,
)
from astronomer_remote.api.runs.runs import SECONDS_UNTIL_SHOWN, IfExists, Runs, Triggered

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

    def list_all(self, uri_pattern: str | None = None) -> Flow[list[Asset]]:
        """
        List every asset.

        :param uri_pattern: only those whose URI contains this text; ``%`` and ``_`` are wildcards.
        """
        dialect = yield from self._client.dialect()
        if uri_pattern is not None:
            return (yield from self._matching(dialect, {"uri_pattern": uri_pattern})).items

        def page(offset: int, limit: int) -> Operation[Page[Asset]]:
            return dialect.assets(limit=limit, offset=offset)

        return (yield from self._client.paginate(page, lambda asset: asset.asset_id))

    def listed(self, texts: Collection[str]) -> Flow[set[str]]:
        """
        Which of some URIs or names the listing of assets has, in a few requests.

        :return: those that it has; any other may exist all the same, which :meth:`get` finds out.
        :raises NotSupported: by Airflow before 2.4.
        """
        dialect = yield from self._client.dialect()

        def page(offset: int, limit: int) -> Operation[Page[Asset]]:
            return dialect.assets(limit=limit, offset=offset)

        def names(asset: Asset) -> list[str]:
            return [name for name in (asset.uri, asset.name) if name is not None]

        found = yield from self._client.read_named(page, lambda asset: asset.asset_id, names, texts)
        return {name for asset in found for name in names(asset) if name in texts}

    @one_retry_budget
    def get(self, ref: AssetRef, *, once: bool = False) -> Flow[Asset]:
        """
        Find one asset. It is looked up each time: its number differs once the remote's database was cleaned, or the
        connection points to another deployment.

        :param once: send each request once, for a caller that retries by itself.
        :raises NotFound: naming assets with a similar URI or name.
        :raises NotSupported: if more assets match than are read.
        """
        found = yield from self._find(ref, once)
        if found is None:
            raise (yield from self._explain_missing(ref))
        return found

    def _find(self, ref: AssetRef, once: bool) -> Flow[Asset | None]:
        dialect = yield from self._client.dialect()
        patterns = []
        if ref.uri is not None:
            patterns.append(({"uri_pattern": ref.uri}, AssetRef(uri=ref.uri)))
        if ref.name is not None and (dialect.names_assets or ref.uri is None):
            patterns.append(({"name_pattern": ref.name}, AssetRef(name=ref.name)))
        for pattern, target in patterns:
            reader = yield from self._matching(dialect, pattern, until=target.matches, once=once)
            if reader.match is not None:
                return reader.match
            if reader.full:
                raise NotSupported(
                    f"At least {len(reader.items)} assets of the remote match {target}, which is the most that is "
                    "read, and it is not among them. So it is unknown whether the remote has it."
                )
        return None

    def _matching(
        self,
        dialect: Dialect,
        pattern: Mapping[str, str],
        *,
        until: Callable[[Asset], bool] = lambda asset: False,
        most: int | None = None,
        once: bool = False,
    ) -> Flow[PageReader[Asset]]:
        """
        List the assets that match a pattern.

        Airflow 2 counts all assets as the total, whatever the pattern. So this reads until a page comes back empty.
        """

        def page(offset: int, limit: int) -> Operation[Page[Asset]]:
            operation = dialect.assets(**pattern, limit=limit, offset=offset)
            return operation.once() if once else operation

        reader = PageReader(page, lambda asset: asset.asset_id, most=most or MOST_MATCHES, until=until)
        yield from self._client.read_on(reader)
        return reader

    def _explain_missing(self, ref: AssetRef) -> Flow[NotFound]:
        """The error for an asset that the remote does not have."""
        dialect = yield from self._client.dialect()
        try:
            known = (yield from self._matching(dialect, {}, most=MOST_COMPARED)).items
        except RemoteError:
            return NotFound(f"The remote has no asset {ref}. {EXISTS_ONCE}", status=404)
        names = {name[:LONGEST_COMPARED]: name for asset in known for name in (asset.name, asset.uri) if name}
        text = (ref.uri or ref.name or "")[:LONGEST_COMPARED]
        similar = yield from compute(lambda: get_close_matches(text, names, n=MOST_SIMILAR))
        hint = f" Similar ones are: {', '.join(repr(names[name]) for name in similar)}." if similar else ""
        nothing = "" if known else " It shows no assets at all to this account."
        return NotFound(f"The remote has no asset {ref}.{hint}{nothing} {EXISTS_ONCE}", status=404)

    @one_retry_budget
    def list_events(self, asset: Asset | None = None, *, since: str | None = None, most: int) -> Flow[list[AssetEvent]]:
        """
        List asset events, newest first; those that cannot be read are left out.

        :param asset: only those of this asset.
        :param since: only those from this moment on, ISO 8601.
        :param most: how many at most.
        :raises ListingChanged: if some were missed each time, as events were deleted meanwhile.
        """
        is_older = _older_than(since)
        reader = yield from self._read_all_events(asset, since, most=most, until=is_older)
        return [event for event in reader.items if not is_older(event)][:most]

    @one_retry_budget
    def each_event(
        self,
        found: Callable[[AssetEvent], None],
        asset: Asset | None = None,
        *,
        since: str | None = None,
        until: Callable[[AssetEvent], bool] = lambda event: False,
    ) -> Flow[bool]:
        """
        Read asset events, newest first, of any size in total.

        :param found: is called with each event; with some of them again.
        :param asset: as for :meth:`list_events`, like ``since``.
        :param until: stop at the first event for which this is true.
        :return: whether older ones were left out, as there are more than :data:`MOST_EVENTS`.
        :raises ListingChanged: as for :meth:`list_events`.
        """
        is_older = _older_than(since)

        def keep(event: AssetEvent) -> AssetEvent:
            if not is_older(event):
                found(event)
            return event.without_extra()

        def is_last(event: AssetEvent) -> bool:
            return is_older(event) or until(event)

        reader = yield from self._read_all_events(asset, since, most=MOST_EVENTS, until=is_last, keep=keep)
        return reader.full and reader.match is None

    def _read_all_events(
        self, asset: Asset | None, since: str | None, *, most: int, **how: Any
    ) -> Flow[PageReader[AssetEvent]]:
        """:meth:`_read_events`, again if some were missed."""
        for _ in range(LISTING_ATTEMPTS):
            reader = yield from self._read_events(asset, since, most=most, **how)
            if reader.complete:
                return reader
        raise ListingChanged(
            f"Could not list all {reader.total} asset events: each time, some were deleted meanwhile, or others were "
            "shown again in their place."
        )

    def _read_events(
        self,
        asset: Asset | None,
        since: str | None,
        *,
        most: int,
        until: Callable[[AssetEvent], bool],
        keep: Callable[[AssetEvent], AssetEvent] | None = None,
        once: bool = False,
    ) -> Flow[PageReader[AssetEvent]]:
        dialect = yield from self._client.dialect()

        # New events come before the ones that were read, so that a page may repeat some, and none is missed.
        def page(offset: int, limit: int) -> Operation[Page[AssetEvent]]:
            operation = dialect.asset_events(asset, since=since, limit=limit, offset=offset)
            return operation.once() if once else operation

        reader = PageReader(page, lambda event: event.event_id, most=most, until=until, keep=keep, newest_first=True)
        yield from self._client.read_on(reader)
        return reader

    def matching_events(
        self, target: AssetTarget, each: Callable[[AssetEvent], object] | None = None
    ) -> Flow[list[AssetEvent]]:
        """
        The events that a wait is for, oldest first. The extra of a large one is left out.

        :param each: is called once with each of them, as long as its extra is there.
        :raises NotFound: for an unknown asset, naming similar ones.
        """
        asset = yield from self.get(target.ref)
        matching: dict[int, AssetEvent] = {}

        def found(event: AssetEvent) -> None:
            if target.matches(event) and event.event_id not in matching:
                matching[event.event_id] = event.light()
                if each:
                    each(event)

        yield from self.each_event(found, asset, since=target.since)
        return [*reversed(matching.values())]

    @one_retry_budget
    def register_event(self, intent: AssetEventIntent) -> Flow[AssetEvent]:
        """
        Register an asset event, once however often its request or reply is lost.

        The API has no idempotency key. So the event carries the id of its intent, and before a request is repeated,
        the asset's events since the first attempt are searched for that id. Only the time limits the attempts.

        :raises NotFound: for an unknown asset, naming similar ones.
        :raises NotSupported: by Airflow before 2.9, and for what the remote's version cannot do.
        :raises Conflict: if the remote registered an event of another asset.
        """
        dialect = yield from self._client.dialect()
        # Fails for what this version cannot do, before any other request.
        dialect.create_asset_event(ANY, intent)
        began = self._client.clock() if intent.first_attempt is None else intent.first_attempt
        in_doubt, missed = intent.first_attempt is not None, False
        lost: TransientError | None = None
        due: TransientError | None = None
        while True:
            try:
                asset = yield from self.get(intent.asset, once=True)
                known_at = self._client.settings.base_url
                there = (yield from self._own_event(asset, intent.mark, began, due)) if in_doubt else None
            except TransientError as error:
                yield from self._back_off(error, lost)
                due = None
                continue
            if there:
                return there
            # Its credentials may have been refused meanwhile, and its connection read again.
            dialect = yield from self._client.dialect()
            try:
                event = yield from self._client.request(dialect.create_asset_event(asset, intent).only_at(known_at))
            except NotFound:
                if missed:
                    raise
                # The remote's database may have been cleaned since the asset was looked up.
                missed = True
            except TransientError as error:
                lost = due = error
                in_doubt = True
            else:
                if not _is_of(event, asset, dialect):
                    raise Conflict(
                        f"The remote registered event {event.event_id} of another asset, {event.uri!r} with number "
                        f"{event.asset_id}, and not of {asset.uri!r} with number {asset.asset_id}. Its database may "
                        "have been restored, or the connection points to another deployment now."
                    )
                return event

    def _back_off(self, failure: TransientError, lost: TransientError | None) -> Flow[None]:
        """
        Wait before a search is repeated.

        :param lost: why it is necessary, which is the error once the time is over.
        """
        try:
            yield from self._client.back_off(failure, by_time=True)
        except TransientError:
            raise lost or failure from None

    def _own_event(self, asset: Asset, mark: str, began: float, due: TransientError | None) -> Flow[AssetEvent | None]:
        """
        The event of an asset that carries an intent's id. It is searched several times, as it may show late.

        :param began: when the first attempt began, in seconds since the epoch by the local clock.
        :param due: failure of the last request, if there was no pause since.
        """
        skew = self._client.remote_clock() - self._client.clock()
        since = utc_text_of(began + skew - SECONDS_OF_OVERLAP)
        for seconds in SECONDS_UNTIL_SHOWN:
            there = yield from self._search(asset, mark, since)
            if there:
                return there
            yield Sleep(seconds)
        if due:
            yield from self._client.back_off(due, by_time=True)
        return (yield from self._search(asset, mark, since))

    def _search(self, asset: Asset, mark: str, since: str) -> Flow[AssetEvent | None]:
        """
        Search an asset's events once for an intent's id.

        :raises NotSupported: if there are too many events to know, or some that cannot be read.
        :raises ListingChanged: if not all of them were shown.
        """
        is_older = _older_than(since)

        def is_last(event: AssetEvent) -> bool:
            return is_older(event) or event.extra.get(INTENT_KEY) == mark

        reader = yield from self._read_events(
            asset, since, most=MOST_EVENTS, until=is_last, keep=AssetEvent.without_extra, once=True
        )
        if reader.match is not None and not is_older(reader.match):
            return reader.match
        if reader.full or reader.unreadable:
            many = f"at least {MOST_EVENTS} events since {since}, which is the most that is read"
            odd = f"events that cannot be read, for example: {reader.unreadable[0]}" if reader.unreadable else many
            raise NotSupported(
                f"Asset {asset.uri!r} has {odd}. So it is unknown whether this task has registered its event already. "
                "Clear the task to register a new one."
            )
        if not reader.complete:
            raise ListingChanged(f"The remote did not show all {reader.total} events of asset {asset.uri!r}.")
        return None

    @one_retry_budget
    def materialize(self, ref: AssetRef, intent: TriggerIntent, if_exists: IfExists) -> Flow[Triggered]:
        """
        Trigger the one DAG that produces an asset, once however often the request or its reply is lost.

        :param intent: the run to trigger; its DAG and asset are filled in here.
        :raises NotFound: for an unknown asset, or one that no DAG produces.
        :raises Conflict: if several DAGs produce it; it names them.
        """
        dag_id, asset = yield from self.producer(ref)
        return (yield from self._runs.ensure(replace(intent, dag_id=dag_id, asset=asset), if_exists))

    def producer(self, ref: AssetRef) -> Flow[tuple[str, AssetNumber | None]]:
        """
        Find the one DAG that produces an asset.

        :return: the DAG, and the asset if the remote triggers the DAG by its number.
        :raises NotFound: for an unknown asset, or one that no DAG produces.
        :raises Conflict: if several DAGs produce it; it names them.
        """
        asset = yield from self.get(ref)
        # Its connection may have been read again meanwhile.
        dialect = yield from self._client.dialect()
        if not asset.producing_dag_ids:
            raise NotFound(f"No DAG of the remote produces asset {ref}: none has a task with it as an outlet.")
        if len(asset.producing_dag_ids) > 1:
            names = ", ".join(map(repr, sorted(asset.producing_dag_ids)))
            raise Conflict(
                f"Several DAGs of the remote produce asset {ref}: {names}. Trigger one of them by its id. A DAG whose "
                "file was removed counts until it is deleted in the remote."
            )
        number = AssetNumber(asset.asset_id, dialect.base_url) if dialect.materializes_with_body else None
        return asset.producing_dag_ids[0], number


def _older_than(since: str | None) -> Callable[[AssetEvent], bool]:
    """Whether an event is from before a moment; Airflow 2 does not filter by it."""
    begin = parse_date(utc_text(since, "since")) if since else None
    return lambda event: begin is not None and parse_date(utc_text(event.timestamp, "timestamp")) < begin


def _is_of(event: AssetEvent, asset: Asset, dialect: Dialect) -> bool:
    """Whether an event is one of an asset, as its request identified it: by URI in Airflow 2, later by number."""
    if not dialect.names_assets:
        return event.uri == asset.uri
    return event.asset_id == asset.asset_id and event.uri in (None, asset.uri)
