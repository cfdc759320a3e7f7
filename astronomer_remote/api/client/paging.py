"""Listings that come page by page, and whether all of one was read. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeAlias, TypeVar

from astronomer_remote.api.dialects.base import PAGE, Operation, Page
from astronomer_remote.api.protocol.models import DagRun, TaskInstance

T = TypeVar("T")

PageAt: TypeAlias = Callable[[int, int], Operation[Page[T]]]
"""Makes the operation for a page of a listing, from its offset and its number of entries."""

MOST_ENTRIES = 100_000
"""Entries of a listing that are read at most."""

MOST_PAGES = 2_000
"""Pages of a listing that are read at most."""

LARGEST_LISTING = 64 * 1024 * 1024
"""Bytes of all pages of a listing that are read at most: the entries are kept as they are."""

LARGEST_BARE_LISTING = 512 * 1024 * 1024
"""The same where only a few fields of each entry are kept."""

LISTING_ATTEMPTS = 4
"""How often a listing is read if it changes while it is read."""

FEWEST_LISTED = 3
"""Fewer entries are read one by one rather than from the listing of all."""

MOST_REPEATED_PAGES = 20
"""Pages in a row without anything new after which a listing whose new entries come first is not read further."""

INSTANCES_PER_PAGE = 2000
"""Task instances per page of a run that has more than one page of them: one page of a few megabytes
shows them as of one moment, and costs the remote less than twenty small ones."""

InstanceKey: TypeAlias = "tuple[str | None, str | None, str, int]"


def instance_key(instance: TaskInstance) -> InstanceKey:
    """What identifies a task instance."""
    return instance.dag_id, instance.run_id, instance.task_id, instance.map_index


def run_key(run: DagRun) -> tuple[str, str]:
    """What identifies a run."""
    return run.dag_id, run.run_id


class PageReader(Generic[T]):
    """
    Reads a listing page by page, and knows whether it has all of it.

    Airflow 2 lists task instances in no order: with PostgreSQL, a row that changes moves. Between two pages it may
    move to one that was read already, so that it is missing, or to one that comes later, so that it comes twice.
    Airflow 3 has an order, and there, too, rows come and go, and move when a task is tried again.

    :param page: makes the operation for a page.
    :param key: identifies an entry.
    :param limit: entries of a page.
    :param widest: entries of a page where the listing does not fit into one of the usual size.
    :param most: stop after so many entries.
    :param until: stop at the first entry for which this is true; it is then in :attr:`match`.
    :param keep: makes of each entry what is kept of it, which is so small that the size of the listing does not count.
    :param newest_first: whether new entries come first, so that a page may repeat what was on the pages before.
    """

    def __init__(
        self,
        page: PageAt[T],
        key: Callable[[T], Hashable],
        *,
        limit: int = PAGE,
        widest: int = 0,
        most: int | None = None,
        until: Callable[[T], bool] = lambda entry: False,
        keep: Callable[[T], T] | None = None,
        newest_first: bool = False,
    ) -> None:
        self._page = page
        self._key = key
        self._largest = self._limit = limit if most is None else min(limit, most)
        self._widest = widest
        self._most = most
        self._until = until
        self._keep = keep
        self._most_repeated = MOST_REPEATED_PAGES if newest_first else 1
        self._repeated = self._expected = 0
        self._found: dict[Hashable, T] = {}
        self._offset = self.pages = 0
        self._steady = True
        self.total = self.bytes = 0
        self.unreadable: list[str] = []
        self.match: T | None = None
        self.over = self.repeated = False

    @property
    def items(self) -> list[T]:
        return list(self._found.values())

    @property
    def whole(self) -> bool:
        """Whether every entry was read, once."""
        return self.over and self._steady and len(self._found) + len(self.unreadable) == self._offset == self.total

    @property
    def complete(self) -> bool:
        """Whether nothing was missed of a listing whose new entries come first, as far as it was to be read."""
        has_all = self.match is not None or self.full or len(self._found) + len(self.unreadable) >= self._expected
        return self.over and self._steady and not self.repeated and has_all

    @property
    def full(self) -> bool:
        """Whether as many entries were read as are read at most."""
        return self._most is not None and len(self._found) >= self._most

    @property
    def too_long(self) -> bool:
        """Whether the listing is longer than is read, if all of it is to be read."""
        return self._most is None and self.total > MOST_ENTRIES

    def next(self) -> Operation[Page[T]]:
        """The operation for the next page."""
        return self._page(self._offset, self._limit)

    def add(self, page: Page[T], size: int = 0) -> None:
        """Add a page. :param size: bytes of the reply that it came in."""
        self.bytes += 0 if self._keep else size
        if self.pages == 0 and self._widest > self._limit and page.total > page.entries:
            # One page holds the listing as it was at one moment. Room is left for what is added meanwhile.
            self._largest = self._limit = min(self._widest, page.total + page.total // 10 + PAGE)
            self._widest = 0
            return
        before = len(self._found) + len(self.unreadable)
        for item in page.items:
            self._found[self._key(item)] = self._keep(item) if self._keep else item
            if self._until(item):
                self.match = item
                break
        self.unreadable += page.unreadable
        self._steady = self._steady and page.total >= self.total
        if self.pages == 0 or not page.entries:
            # New ones may come; an empty page means that there are no more, whatever it claims.
            self._expected = page.total if page.entries else 0
        self.total, self.pages = page.total, self.pages + 1
        self._advance(page.entries, new=len(self._found) + len(self.unreadable) - before)

    @property
    def widened(self) -> bool:
        """Whether it is read in pages of more than the usual size."""
        return self._largest > PAGE

    def narrow(self) -> None:
        """Continue with pages of the usual size, since the remote refuses larger ones."""
        self._widest, self._largest, self._limit = 0, PAGE, PAGE

    def shrink(self, reason: str) -> None:
        """Continue with smaller pages, since the last reply was too large. :param reason: the error of that reply."""
        self._widest = 0
        if self._limit > 1:
            self._limit //= 2
            return
        self.pages += 1
        self.unreadable.append(reason)
        self.total = max(self.total, self._offset + 1)
        self._advance(1, new=1)

    def _advance(self, entries: int, *, new: int) -> None:
        self._offset += entries
        self._repeated = self._repeated + 1 if new == 0 and entries > 0 and self.match is None else 0
        # A remote that repeats pages has no more of them, whatever total it claims.
        self.repeated = self._repeated >= self._most_repeated
        at_end = entries == 0 or self._offset >= self.total
        self.over = self.repeated or at_end or self.match is not None or self.full
        self._limit = min(self._largest, 2 * self._limit)
