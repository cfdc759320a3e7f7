"""Listings of several pages: whether all of them was seen, and what a remote that lies about them may cost."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.client.paging import LISTING_ATTEMPTS, MOST_ENTRIES, MOST_PAGES, PageReader
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.dialects.base import Operation, Page, page_of
from astronomer_remote.api.protocol import flow as wire
from astronomer_remote.api.protocol.errors import (
    DagNotFound,
    ListingChanged,
    NotSupported,
    RemoteError,
    RemoteUnavailable,
    ReplyTooLarge,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import (
    LARGEST_ENTRY,
    LARGEST_PAGE,
    UNPARSED,
    Flow,
    Request,
    Response,
    TransportError,
    json_in_steps,
)
from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.waiting.target import WaitTarget
from astronomer_remote.api.waiting.waiter import Waiter
from astronomer_remote.testing import FakeDeployment, drive
from tests.api.script import V1, V2, ScriptedRemote, answer, ok

Lines = Callable[[int, int], dict[str, Any]]
"""The JSON of a page, from its offset and limit."""


def page_at(offset: int, limit: int) -> Operation[Page[int]]:
    def read(body: Any) -> Page[int]:
        return page_of(body["items"], lambda entry: entry["n"], body["total"])

    return Operation(Request("GET", "/listing", {"offset": offset, "limit": limit}), read, "list numbers")


def read(lines: Lines, remote: ScriptedRemote | None = None, *, widest: int = 100) -> list[int]:
    def reply(request: Request) -> Response | TransportError:
        found = lines(request.query["offset"], request.query["limit"])
        return found if isinstance(found, Response) else ok(found)

    remote = remote or ScriptedRemote(version=V2)
    return remote.drive(remote.client.paginate(page_at, lambda n: n, widest=widest), reply)


def rows(numbers: list[Any], offset: int, limit: int) -> dict[str, Any]:
    return {"items": [{"n": number} for number in numbers[offset:][:limit]], "total": len(numbers)}


@given(st.integers(0, 450), st.integers(1, 100), st.sampled_from([100, 400]))
def test_a_listing_that_stays_as_it_is_is_read_once(number: int, most: int, widest: int) -> None:
    remote = ScriptedRemote(version=V2)
    before = len(remote.requests)
    numbers = list(range(number))
    assert read(lambda offset, limit: rows(numbers, offset, min(limit, most)), remote, widest=widest) == numbers
    assert len(remote.requests) - before <= 2 + number // most


@given(st.integers(0, 2**32), st.integers(101, 400), st.integers(0, 3))
def test_rows_that_move_are_read_again_or_known_to_be_missing(seed: int, number: int, moves: int) -> None:
    chance, numbers = random.Random(seed), list(range(number))

    def lines(offset: int, limit: int) -> dict[str, Any]:
        found = rows(numbers, offset, limit)
        for _ in range(moves):
            numbers.insert(chance.randrange(number), numbers.pop(chance.randrange(number)))
        return found

    try:
        found = read(lines)
    except ListingChanged:
        return
    assert sorted(found) == list(range(number))


def test_rows_that_are_added_meanwhile_belong_to_it_and_ones_that_vanish_make_it_uncertain() -> None:
    numbers = list(range(150))

    def growing(offset: int, limit: int) -> dict[str, Any]:
        found = rows(numbers, offset, limit)
        if len(numbers) == 150:
            numbers.append(150)
        return found

    assert read(growing) == list(range(151))

    def shrinking(offset: int, limit: int) -> dict[str, Any]:
        found = rows(numbers, offset, limit)
        if len(numbers) > 148:
            numbers.remove(min(numbers))
        return found

    assert read(shrinking) == numbers == list(range(3, 151))


def test_the_same_page_again_and_again_ends() -> None:
    remote = ScriptedRemote(version=V2)
    with pytest.raises(ListingChanged, match="list numbers"):
        read(lambda offset, limit: {"items": [{"n": n} for n in range(100)], "total": 5_000}, remote)
    assert sum(request.path == "/listing" for request in remote.requests) == 2 * LISTING_ATTEMPTS


@pytest.mark.parametrize("total", [1_000, 0, -1])
def test_a_total_that_is_not_the_number_of_entries_is_never_a_whole_listing(total: int) -> None:
    with pytest.raises(ListingChanged):
        read(lambda offset, limit: {**rows(list(range(150)), offset, limit), "total": total})


def test_a_listing_that_claims_to_be_endless_is_refused_at_once() -> None:
    remote = ScriptedRemote(version=V2)
    with pytest.raises(NotSupported, match=f"there are 1000000000 entries, and {MOST_ENTRIES} are the most"):
        read(lambda offset, limit: {**rows(list(range(200)), offset, limit), "total": 10**9}, remote)
    assert sum(request.path == "/listing" for request in remote.requests) == 1


def test_a_listing_of_as_many_entries_as_are_read_is_not_too_long() -> None:
    reader: PageReader[int] = PageReader(page_at, lambda n: n)
    reader.add(Page([], MOST_ENTRIES))
    assert not reader.too_long
    reader.add(Page([], MOST_ENTRIES + 1))
    assert reader.too_long


def test_of_which_only_some_are_read_no_larger_page_is_requested() -> None:
    reader: PageReader[int] = PageReader(page_at, lambda n: n, most=10)
    assert reader.next().request.query == {"offset": 0, "limit": 10}


def test_pages_of_one_entry_each_end_as_well() -> None:
    remote = ScriptedRemote(version=V2)
    with pytest.raises(ListingChanged):
        read(lambda offset, limit: {"items": [{"n": offset}], "total": MOST_ENTRIES}, remote)
    assert sum(request.path == "/listing" for request in remote.requests) == MOST_PAGES * LISTING_ATTEMPTS


# Replies that are too large


def heavy(sizes: list[int], limits: list[int]) -> Lines:
    """A listing whose entries have sizes, in bytes."""

    def lines(offset: int, limit: int) -> Any:
        limits.append(limit)
        room = LARGEST_ENTRY if limit == 1 else LARGEST_PAGE
        if sum(sizes[offset:][:limit]) > room:
            return Response(200, {}, b"{", truncated=True)
        return rows(list(range(len(sizes))), offset, limit)

    return lines


@pytest.mark.parametrize("sizes", [[5 * 2**20] * 8, [400_000] * 100, [1] * 300 + [8 * 2**20] + [1] * 300])
def test_a_reply_that_is_too_large_is_requested_in_smaller_pages(sizes: list[int]) -> None:
    limits: list[int] = []
    assert read(heavy(sizes, limits)) == list(range(len(sizes)))
    assert limits[-1] == min(100, max(limits)) or len(sizes) <= 100


def of_each_listing(remote: Deployment) -> dict[str, Flow[int]]:
    """How many entries each flow that reads a listing finds in a deployment with 20 of everything."""
    run = DagRun("d", "r0", "failed")
    waiter = Waiter(WaitTarget("d", run_id="r0", progress=True, stream=("t0",)), 60.0, lambda update: None, 0.0)

    def count(flow: Flow[Any]) -> Flow[int]:
        return len((yield from flow))

    def failures() -> Flow[int]:
        return (yield from remote.failures.report(run, log_lines=0)).failed_count or 0

    def broken_files() -> Flow[int]:
        error = yield from remote.dags.explain_missing("d", DagNotFound(""))
        return int(error.message.partition("could not import ")[2].partition(" ")[0])

    def followed() -> Flow[int]:
        yield from remote.follower.follow(waiter)
        return int(waiter.progress.partition("/")[2].partition(" ")[0])

    return {
        "runs": count(remote.list_dag_runs("d")),
        "ended runs": count(remote.runs.ended(["d"], since=0.0, bound=0.0)),
        "ended tasks": count(remote.poller.ended_tasks([("d", "r0")], since=0.0)),
        "task instances": count(remote.list_task_instances("d", "r0")),
        "failed tasks": failures(),
        "broken DAG files": broken_files(),
        "tasks whose progress is shown": followed(),
        "pools": count(remote.list_pools()),
    }


LISTINGS = list(of_each_listing(FakeDeployment(V2).deployment()))


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("largest", [100, 7])
@pytest.mark.parametrize("listing", LISTINGS)
def test_each_listing_is_read_in_smaller_pages_if_the_usual_ones_are_too_large(
    version: str, listing: str, largest: int
) -> None:
    fake = FakeDeployment(version, login=None)
    names = [f"t{number}" for number in range(20)]
    fake.add_dag("d", tasks=names, ends="failed", task_ends=dict.fromkeys(names, "failed"))
    for number in range(20):
        fake.add_run("d", f"r{number}", state="failed", logical_date=f"2026-05-{number + 1:02}T00:00:00Z")
        fake.add_import_error(f"{number}.py", "Traceback")
        if number:
            fake.add_pool(f"p{number}", 1)

    def handle(request: Request) -> Response:
        limit = request.query.get("limit") or (request.body or {}).get("page_limit") or 0
        if limit > largest:
            return Response(200, {"content-type": "application/json"}, b"[", truncated=True)
        return fake.handle(request)

    assert drive(of_each_listing(fake.deployment())[listing], handle, clock=fake.clock) == 20


def test_an_entry_that_is_too_large_by_itself_is_left_out_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    remote = ScriptedRemote(version=V2)
    sizes = [1] * 120
    sizes[70] = LARGEST_ENTRY + 1
    for _ in range(2):
        assert read(heavy(sizes, []), remote) == [n for n in range(120) if n != 70]
    assert [record.message for record in caplog.records] == [
        "Could not list numbers in full; what cannot be read is left out, for example: The reply is larger than this "
        f"package reads ({LARGEST_ENTRY} bytes), or does not end."
    ]
    assert read(heavy([LARGEST_ENTRY + 1], []), remote) == []


def test_an_entry_that_cannot_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    odd = [1, {"m": 2}, None, {"n": 3}]
    assert read(lambda offset, limit: {"items": [{"n": 0}, *odd], "total": 5}) == [0, 3]
    assert "TypeError" in caplog.text


@pytest.mark.parametrize(("limit", "largest"), [(1, LARGEST_ENTRY), (2, LARGEST_PAGE), (1_000, LARGEST_PAGE)])
@pytest.mark.parametrize("version", [V1, V2])
def test_a_page_may_be_no_larger_than_an_entry(version: str, limit: int, largest: int) -> None:
    remote = ScriptedRemote(version=version)
    dialect = remote.play(remote.client.dialect())
    assert dialect.dag_runs("d", limit=limit).request.largest_reply == largest
    assert dialect.ended_runs(["d"], since="x", bound="y", limit=limit).request.largest_reply == largest


def test_a_single_thing_that_is_too_large_is_an_error_and_not_requested_again() -> None:
    remote = ScriptedRemote(version=V2)
    with pytest.raises(ReplyTooLarge):
        remote.drive(remote.deployment.get_dag_run("d", "r"), lambda _: Response(200, {}, b"{", truncated=True))
    assert len(remote.requests) == 1


@pytest.mark.parametrize(("status", "error"), [(403, UnexpectedReply), (503, RemoteUnavailable)])
def test_an_error_that_is_too_large_is_read_by_its_beginning(status: int, error: type[RemoteError]) -> None:
    remote = ScriptedRemote(version=V2, retry=RetryPolicy(attempts=1))
    refusal = Response(status, {"content-type": "application/json"}, b'{"detail": "Forb', truncated=True)
    with pytest.raises(RemoteError, match="Forb") as failure:
        remote.drive(remote.deployment.get_dag_run("d", "r"), lambda _: refusal)
    assert type(failure.value) is error


# JSON that is parsed beside the event loop

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


STEPS = st.sampled_from([1, 2, 5, 13, 100])
"""Characters of a step, instead of 64 KiB."""


@given(JSON, st.sampled_from([None, 1, "\t"]), STEPS)
def test_json_in_steps_is_what_python_reads(value: Any, indent: Any, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "LARGE_JSON", step)
        assert json_in_steps(json.dumps(value, indent=indent)) == json.loads(json.dumps(value))


@given(st.text(alphabet='{}[]",:0 1atrue\n'), STEPS)
def test_what_is_no_json_is_none_in_steps_either(text: str, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "LARGE_JSON", step)
        try:
            expected = json.loads(text)
        except ValueError:
            with pytest.raises(ValueError, match=r": \d+|line \d+"):
                json_in_steps(text)
        else:
            assert json_in_steps(text) == expected


def test_no_step_is_longer_than_it_may_be_and_what_is_skipped_is_never_built() -> None:
    values = {"n": 1, "conf": {"a": [[1, "x"]] * 50_000}, "rest": [list(range(100))] * 1_000, "text": "y" * 200_000}
    text = json.dumps(values)
    decoder, longest = json.JSONDecoder(), 0

    class Watched(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            nonlocal longest
            found, end = decoder.raw_decode(s, idx)
            # A text is copied, and not taken apart.
            longest = longest if isinstance(found, str) else max(longest, end - idx)
            return found, end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json, "JSONDecoder", Watched)
        assert json_in_steps(text) == values
        assert json_in_steps(text, skip={"conf"}) == {name: values[name] for name in ("n", "rest", "text")}
    assert longest <= wire.LARGE_JSON


def test_a_parsed_reply_is_the_reply() -> None:
    reply = answer(200, {"a": [1, {"b": None}]})
    assert reply.parsed is UNPARSED
    parsed = reply.parse()
    assert parsed == reply
    assert parsed.parsed == parsed.json() == reply.json()
    for body, words in ((b"{", "expected: 1"), (b"x", "Expecting value"), (b"1 2", "more than one")):
        with pytest.raises(ValueError, match=words):
            Response(200, {}, body).parse().json()
    deep = Response(200, {}, b'{"runs": [' + b'{"a": ' * 100_000 + b"1" + b"}" * 100_000 + b'], "n": 1}').parse()
    assert deep.json()["n"] == 1
