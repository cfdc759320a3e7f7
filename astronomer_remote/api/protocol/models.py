"""
What a remote sends, in one shape for every generation.

Models read only the keys they need and tolerate what they do not know: a remote may be newer than this code.
What a generation does not send is ``None``.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, datetime, timedelta, timezone
from functools import total_ordering
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.ids import LONGEST_NOTE

__all__ = ["Asset", "AssetEvent", "Dag", "DagRun", "Generation", "Health", "Pool", "TaskInstance", "Version"]

LONGEST_VERSION = 100
"""Characters of a version that are read."""

FINISHED_RUN_STATES = frozenset({"success", "failed"})
FINISHED_TASK_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


REMOVED = "removed"
"""State of a task instance that its DAG does not have any more."""


class Generation(str, enum.Enum):
    """The three REST APIs Airflow has had."""

    EXPERIMENTAL = "experimental"
    V1 = "v1"
    V2 = "v2"

    @property
    def label(self) -> str:
        """Its name in errors."""
        return {
            Generation.EXPERIMENTAL: "Airflow 1.10's experimental API",
            Generation.V1: "Airflow 2's /api/v1",
            Generation.V2: "Airflow 3's /api/v2",
        }[self]


@total_ordering
@dataclass(frozen=True)
class Version:
    """
    Version of a remote Airflow, compared by its numbers alone.

    :param text: as the remote gives it, which may have a vendor's suffix (``2.10.5+astro.1``).
    """

    text: str

    @property
    def numbers(self) -> tuple[int, ...]:
        # No part is longer than a number that Python reads from text.
        leading = re.match(r"[0-9]{1,9}(\.[0-9]{1,9})*", self.text[:LONGEST_VERSION])
        return tuple(int(part) for part in leading.group().split(".")) if leading else ()

    def __lt__(self, other: Version | tuple[int, ...]) -> bool:
        return self.numbers < (other.numbers if isinstance(other, Version) else other)

    def __ge__(self, other: Version | tuple[int, ...]) -> bool:
        return not self < other

    def __str__(self) -> str:
        return self.text


LARGEST_CONF = 32_768
"""Bytes of a conf as JSON that go to XCom: half of the smallest column in which a local Airflow may keep one."""


@dataclass(frozen=True)
class DagRun:
    """
    A DAG run of the remote.

    :param dag_id: id of its DAG.
    :param run_id: its run id.
    :param state: ``queued``, ``running``, ``success``, ``failed`` or one this package does not know yet.
    :param logical_date: ISO 8601 with zone; ``None`` where Airflow 3 has none.
    :param run_after: ISO 8601 with zone; Airflow 3 only.
    :param start_date: ISO 8601 with zone; ``None`` before it started.
    :param end_date: ISO 8601 with zone; ``None`` before it ended, and on 1.10.
    :param run_type: ``manual``, ``scheduled``, …; from 2.2 on.
    :param conf: what it was triggered with; ``None`` on 1.10.
    :param note: its note; from 2.5 on.
    :param url: page of the run in the remote's UI.
    """

    dag_id: str
    run_id: str
    state: str | None = None
    logical_date: str | None = None
    run_after: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    run_type: str | None = None
    conf: dict[str, Any] | None = None
    note: str | None = None
    url: str = ""

    @property
    def finished(self) -> bool:
        return self.state in FINISHED_RUN_STATES

    @property
    def outline(self) -> dict[str, str | None]:
        """What is needed to find it and its page again, as plain JSON of a few hundred bytes."""
        return {name: getattr(self, name) for name in OUTLINE}

    def as_dict(self, largest: int | None = LARGEST_CONF) -> dict[str, Any]:
        """
        Plain JSON, as it goes to XCom.

        A conf that is larger is ``None`` there, and ``left_out`` says how to read it; of a note the first 1000
        characters are kept, which is what Airflow stores.

        :param largest: bytes of JSON, default 32 KiB; ``None`` for no limit.
        """
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.note is not None:
            plain["note"] = untrusted.storable_text(str(self.note)[:LONGEST_NOTE])
        plain["conf"] = untrusted.storable(self.conf)
        size = untrusted.size(plain["conf"])
        if largest is not None and size > largest:
            left_out = f"conf: {size} bytes of JSON, and {largest} are the most that are handed on. {HOW_TO_READ}"
            plain |= {"conf": None, "left_out": left_out}
        return plain


OUTLINE = ("dag_id", "run_id", "state", "logical_date", "url")
"""Fields of a run that are known to be short."""

HOW_TO_READ = "AstronomerHook.get_dag_run reads the whole run."


@dataclass(frozen=True)
class DatedRun:
    """
    A DAG run and its data interval.

    :param data_interval_end: ISO 8601 with zone; ``None`` for a run without a data interval.
    """

    run: DagRun
    data_interval_end: str | None = None


@dataclass(frozen=True)
class AssetNumber:
    """
    An asset by its number in the database of one deployment; another one has another asset of that number.

    :param base_url: URL of the deployment.
    """

    number: int
    base_url: str


@dataclass(frozen=True)
class TriggerIntent:
    """
    What one task wants to trigger once: a DAG run.

    :param dag_id: DAG to run.
    :param run_id: id of the run; chosen before the first attempt, so that every attempt means the same run.
    :param conf: JSON object for the run.
    :param logical_date: ISO 8601 with zone, or ``None`` if none is given.
    :param dated_now: whether a run that is given no logical date gets the time of the request, rather than none;
        only Airflow 3 has runs without one.
    :param run_after: ISO 8601 with zone: not to start before; Airflow 3.
    :param data_interval: start and end, ISO 8601 with zone.
    :param note: note for the run; Airflow 2.5 and later.
    :param partition_key: Airflow 3.2 and later.
    :param mark: digest of the intent, which the run has in its note or date where its id does not identify it.
    :param asset: asset that the run materializes; Airflow 3.3.
    """

    dag_id: str
    run_id: str
    conf: Mapping[str, Any] = field(default_factory=dict)
    logical_date: str | None = None
    run_after: str | None = None
    data_interval: tuple[str, str] | None = None
    note: str | None = None
    partition_key: str | None = None
    dated_now: bool = True
    mark: str | None = None
    asset: AssetNumber | None = None


@dataclass(frozen=True)
class TaskInstance:
    """
    A task instance of the remote.

    :param task_id: id of its task.
    :param map_index: index of a mapped task, else -1.
    :param state: ``None`` before it is scheduled.
    :param try_number: number of the try; 0 before the first.
    :param dag_id: its DAG; only where instances of several runs are listed.
    :param run_id: its run, likewise.
    """

    task_id: str
    map_index: int = -1
    state: str | None = None
    try_number: int = 0
    operator: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    duration: float | None = None
    dag_id: str | None = None
    run_id: str | None = None

    @property
    def name(self) -> str:
        """Its task and, if that is mapped, its index."""
        return f"{self.task_id}[{self.map_index}]" if self.map_index >= 0 else self.task_id


@dataclass(frozen=True)
class Dag:
    """
    A DAG of the remote.

    :param is_paused: whether its scheduled and triggered runs do not start.
    :param has_import_errors: whether its file could not be parsed lately; from 2.11 on.
    :param is_stale: whether no DAG file defines it any more, so that it cannot be triggered.
    :param fileloc: its file, as the remote names it.
    """

    dag_id: str
    is_paused: bool | None = None
    has_import_errors: bool | None = None
    is_stale: bool | None = None
    fileloc: str | None = None
    schedule: str | None = None
    max_active_runs: int | None = None


@dataclass(frozen=True)
class ImportFailure:
    """A DAG file the remote could not parse."""

    filename: str
    stack_trace: str


LARGEST_POOL = 2**31 - 1
"""What fits Airflow's database column of a pool's slots."""


@dataclass(frozen=True)
class Pool:
    """
    A pool of the remote.

    :param name: its name.
    :param slots: its size; -1 is unlimited.
    :param description: free text.
    :param include_deferred: whether deferred tasks hold slots; from 2.7 on.
    :param occupied_slots: slots in use, running and queued; the other counts likewise, ``None`` if unknown.
    """

    name: str
    slots: int
    description: str | None = None
    include_deferred: bool | None = None
    occupied_slots: int | None = None
    running_slots: int | None = None
    queued_slots: int | None = None
    scheduled_slots: int | None = None
    deferred_slots: int | None = None
    open_slots: int | None = None
    team_name: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, as it goes to XCom."""
        return asdict(self)

    @property
    def unlimited(self) -> bool:
        """Whether it has no limit; Airflow up to 3.0 takes other negative sizes, too, which leave no slot open."""
        return self.slots == -1


LONGEST_URI = 1500
"""Characters of an asset's URI or name: the width of Airflow's database columns."""

MOST_CREATED_RUNS = 100
"""DAG runs that are kept of those that an asset event created."""


@dataclass(frozen=True)
class AssetRef:
    """
    What identifies an asset: its URI, its name, or one text that may be either.

    :param uri: URI, which is compared first.
    :param name: name; only Airflow 3 has assets whose name differs from their URI.
    """

    uri: str | None = None
    name: str | None = None

    def matches(self, asset: Asset) -> bool:
        """Whether this identifies an asset."""
        return (self.uri is not None and asset.uri == self.uri) or (self.name is not None and asset.name == self.name)

    def __str__(self) -> str:
        return repr(self.uri if self.uri is not None else self.name)


def asset_ref(asset: Any = None, uri: Any = None) -> AssetRef:
    """
    What identifies the asset that a user means.

    :param asset: its URI or name, or Airflow's ``Asset`` or ``Dataset``, or a reference to one.
    :param uri: its URI, instead.
    :raises InvalidSettings: unless exactly one is given.
    """
    if (asset is None) == (uri is None):
        raise InvalidSettings("Give exactly one of asset and uri.")
    if uri is not None:
        return AssetRef(uri=_asset_text(uri, "uri"))
    if isinstance(asset, str):
        return AssetRef(_asset_text(asset, "asset"), asset)
    # Airflow's own classes differ by version: Dataset has a uri, Asset a uri and a name, their references one of them.
    uri, name = getattr(asset, "uri", None), getattr(asset, "name", None)
    if uri is None and name is None:
        raise InvalidSettings(f"asset must be a text, an Asset or a Dataset, not {type(asset).__name__}.")
    if uri is None:
        return AssetRef(name=_asset_text(name, "asset"))
    # An asset that was declared with one text has it as its URI and its name.
    return AssetRef(_asset_text(uri, "asset"), uri if name == uri else None)


def _asset_text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidSettings(f"{name} must be a non-empty text, not {value!r}.")
    if len(value) > LONGEST_URI:
        raise InvalidSettings(f"{name} is {len(value)} characters long; Airflow stores {LONGEST_URI}.")
    return value


@dataclass(frozen=True)
class Asset:
    """
    An asset of the remote; a dataset in Airflow 2.

    :param asset_id: its number in the remote's database.
    :param uri: its URI.
    :param name: its name; ``None`` in Airflow 2, whose datasets have none.
    :param group: its group; Airflow 3.
    :param extra: what the DAGs that declare it say about it.
    :param producing_dag_ids: DAGs that have a task with the asset as an outlet.
    :param consuming_dag_ids: DAGs that are scheduled on the asset.
    """

    asset_id: int
    uri: str
    name: str | None = None
    group: str | None = None
    extra: dict[str, Any] | None = None
    producing_dag_ids: tuple[str, ...] = ()
    consuming_dag_ids: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, as it goes to XCom."""
        return {**asdict(self), **{name: list(getattr(self, name)) for name in DAG_IDS_OF_ASSET}}


DAG_IDS_OF_ASSET = ("producing_dag_ids", "consuming_dag_ids")


@dataclass(frozen=True)
class AssetEvent:
    """
    An event of an asset of the remote.

    :param event_id: its number in the remote's database.
    :param asset_id: number of its asset.
    :param timestamp: when it was registered, by the remote's clock, ISO 8601 with zone.
    :param uri: URI of its asset; not reported by Airflow 3.0.
    :param name: name of its asset; Airflow 3.1 and later.
    :param extra: what its source says about it.
    :param source_dag_id: DAG of the task that produced it; ``None`` for an event made through the API. The other
        sources likewise.
    :param partition_key: its partition; Airflow 3.2 and later.
    :param created_dag_runs: DAG id and run id of the runs that it created so far, up to 100 of them.
    """

    event_id: int
    asset_id: int
    timestamp: str
    uri: str | None = None
    name: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    source_dag_id: str | None = None
    source_task_id: str | None = None
    source_run_id: str | None = None
    source_map_index: int | None = None
    partition_key: str | None = None
    created_dag_runs: tuple[tuple[str, str], ...] = ()
    full_size: int = field(default=0, compare=False, repr=False)
    """Bytes of its JSON if its extra was not kept, as it is large; 0 otherwise."""

    def light(self) -> AssetEvent:
        """The event without its extra if that is too large for XCom, so that thousands of events can be kept."""
        return self.without_extra() if untrusted.size(self.extra) > LARGEST_CONF else self

    def without_extra(self) -> AssetEvent:
        """The event without what may be large."""
        return replace(self, extra={}, created_dag_runs=(), full_size=self.full_size or untrusted.size(self._plain()))

    def _plain(self) -> dict[str, Any]:
        runs = [{"dag_id": dag_id, "run_id": run_id} for dag_id, run_id in self.created_dag_runs]
        plain = {**asdict(self), "created_dag_runs": runs}
        del plain["full_size"]
        return plain

    def as_dict(self, largest: int | None = LARGEST_CONF) -> dict[str, Any]:
        """
        Plain JSON, as it goes to XCom.

        Of an event that is larger, ``created_dag_runs`` is ``None``, then ``extra``, then other fields, and
        ``left_out`` says which ones and how to read them.

        :param largest: bytes of JSON, default 32 KiB; ``None`` for no limit.
        """
        plain = self._plain()
        size = self.full_size or untrusted.size(plain)
        left_out: list[str] = []
        for name in LEFT_OUT_OF_EVENT:
            is_kept = name not in NOT_KEPT or not self.full_size
            if is_kept and (largest is None or untrusted.size(plain) <= largest):
                break
            left_out.append(name)
            what = f"{', '.join(left_out)}: {size} bytes of JSON; at most {largest} are stored in XCom."
            plain |= {name: None, "left_out": f"{what} {HOW_TO_READ_EVENTS}"}
        return plain


LEFT_OUT_OF_EVENT = (
    *("created_dag_runs", "extra", "name", "uri"),
    *("partition_key", "source_run_id", "source_task_id", "source_dag_id"),
)
"""Fields of an event that is too large for XCom, in the order in which they are left out."""

NOT_KEPT = ("created_dag_runs", "extra")
"""Fields of an event that :meth:`AssetEvent.without_extra` leaves out."""

HOW_TO_READ_EVENTS = "AstronomerHook.list_asset_events reads whole events."

LARGEST_EVENTS = 2**20
"""Bytes of JSON of a list of events that go to XCom."""


def events_for_xcom(events: Sequence[AssetEvent]) -> list[dict[str, Any]]:
    """Events as plain JSON of about :data:`LARGEST_EVENTS` bytes; if they are larger, each one gets an equal part."""
    plain = [event.as_dict() for event in events]
    if untrusted.size(plain) <= LARGEST_EVENTS:
        return plain
    return [event.as_dict(min(LARGEST_CONF, LARGEST_EVENTS // len(events))) for event in events]


@dataclass(frozen=True)
class AssetEventIntent:
    """
    One asset event that is to be registered once.

    :param asset: its asset.
    :param mark: id of the intent, which the event carries in its extra.
    :param extra: JSON object for the event.
    :param partition_key: its partition; Airflow 3.2 and later.
    :param first_attempt: when the first attempt began at the earliest, in seconds since the epoch by the local clock,
        if this is not the first one.
    """

    asset: AssetRef
    mark: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    partition_key: str | None = None
    first_attempt: float | None = None


@dataclass(frozen=True)
class Health:
    """State of the remote's components by name: ``healthy``, ``unhealthy``, or ``None`` where there is none."""

    components: Mapping[str, str | None]


def plain_json(value: Any, name: str) -> Any:
    """
    A value that can be sent as JSON, as it will arrive.

    :param name: what to call it in an error.
    :raises InvalidSettings: when it holds anything else, such as a datetime or NaN.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except RecursionError:
        raise InvalidSettings(f"{name} is nested too deeply.") from None
    except (TypeError, ValueError) as error:
        raise InvalidSettings(f"{name} must be JSON: {error}.") from None


ISO_DATE = re.compile(
    r"(?P<year>\d{4})(?:(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
    r"|(?P<week_dash>-?)W(?P<week>\d\d)(?:(?P=week_dash)(?P<weekday>\d))?)"
    r"(?:[Tt ](?P<clock>.+?)(?P<zone>[Zz]|[+-].+)?)?",
    re.ASCII,
)
ISO_CLOCK = re.compile(r"(\d\d)(?:(:?)(\d\d)(?:\2(\d\d)(?:[.,](\d+))?)?)?", re.ASCII)

LONGEST_DATE = 64
"""Characters that are looked at: a date with a time of day to a millionth of a second and a zone has 42."""


def parse_date(text: str) -> datetime:
    """
    Read an ISO 8601 date, alike in every Python: 3.10 reads but a part of what later ones read.

    Date and time may be written with or without separators (``20240105T030000Z``), the day as one of a week
    (``2024-W01-5``), the zone as ``Z``, ``+02``, ``+0200`` or ``+02:00``. A day alone means its midnight. Digits beyond
    a millionth of a second are cut off.

    :return: without a zone if the text names none.
    :raises ValueError: if it is no such date.
    """
    found = ISO_DATE.fullmatch(text.strip()) if len(text) <= LONGEST_DATE else None
    if found is None:
        raise ValueError(f"not an ISO 8601 date: {text[:LONGEST_DATE]!r}")
    year = int(found["year"])
    if found["week"]:
        day = date.fromisocalendar(year, int(found["week"]), int(found["weekday"] or 1))
    else:
        day = date(year, int(found["month"]), int(found["day"]))
    at = _time_of_day(found["clock"]) if found["clock"] else timedelta()
    if at >= timedelta(days=1):
        raise ValueError("a day has 24 hours")
    return datetime(day.year, day.month, day.day, tzinfo=_zone(found["zone"])) + at


def _time_of_day(text: str) -> timedelta:
    """Hours, and as far as they are given minutes, seconds and parts of a second, with or without colons."""
    found = ISO_CLOCK.fullmatch(text)
    if found is None:
        raise ValueError(f"not a time: {text!r}")
    hours, minutes, seconds = (int(found[group] or 0) for group in (1, 3, 4))
    if minutes > 59 or seconds > 59:
        raise ValueError(f"not a time: {text!r}")
    parts = int((found[5] or "0")[:6].ljust(6, "0"))
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=parts)


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in ("Z", "z"):
        return timezone.utc
    if "." in text or "," in text:
        raise ValueError("a zone has no parts of a second")
    offset = _time_of_day(text[1:])
    return timezone(-offset if text[0] == "-" else offset)


def utc_text(value: str | datetime, name: str) -> str:
    """
    A date as the remote wants it: ISO 8601 in UTC with ``Z``, which every generation reads in a URL too.

    :param value: a datetime, or a text that :func:`parse_date` reads; without a zone it is taken as UTC.
    :param name: what to call it in an error.
    :raises InvalidSettings: when it is neither.
    """
    moment = value
    if isinstance(moment, str):
        try:
            moment = parse_date(moment)
        except ValueError:
            raise InvalidSettings(
                f"{name}={value!r} is not a date; write ISO 8601, such as 2021-11-16T11:34:00+00:00."
            ) from None
    if not isinstance(moment, datetime):
        raise InvalidSettings(f"{name} must be a datetime or ISO 8601 text, not {type(value).__name__}.")
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    try:
        return aware.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    except OverflowError:
        raise InvalidSettings(f"{name}={value!r} lies beyond what a date in UTC can say.") from None


def utc_text_of(seconds: float) -> str:
    """The same for seconds since the epoch."""
    return utc_text(datetime.fromtimestamp(seconds, timezone.utc), "date")


def same_moment(one: str | None, other: str | None) -> bool:
    """Whether two dates as remotes write them (``Z``, ``+00:00``, other zones) mean the same moment."""
    return bool(one and other) and utc_text(str(one), "date") == utc_text(str(other), "date")
