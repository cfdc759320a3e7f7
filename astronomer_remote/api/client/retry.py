"""When to retry, as pure functions; :class:`~astronomer_remote.api.client.client.Client` sends and sleeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from astronomer_remote.api.protocol.untrusted import http_date

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

SECONDS_BETWEEN_LOGINS = 300.0
"""After a refused login, seconds until what polls for ever tries it again: a server may lock the account."""


@dataclass(frozen=True)
class RetryPolicy:
    """
    When requests are retried.

    :param attempts: how often a request is sent at most.
    :param total_seconds: no attempt starts later than this after the first.
    :param first_wait: seconds before the second attempt, doubled for each further one.
    :param longest_wait: cap of a wait.
    :param longest_retry_after: cap of a ``Retry-After`` header.
    :param wakes: whether a deployment that hibernates is woken if the connection says so.
    :param waits_for_wake: whether a request waits for a deployment that was woken; else it fails, which is not counted.
    """

    attempts: int = 6
    total_seconds: float = 180.0
    first_wait: float = 1.0
    longest_wait: float = 30.0
    longest_retry_after: float = 60.0
    wakes: bool = True
    waits_for_wake: bool = True

    def wait(self, attempt: int, elapsed: float, jitter: float, retry_after: float | None = None) -> float | None:
        """
        Seconds to wait after a failed attempt, or ``None`` to give up.

        :param attempt: number of the attempt that failed, from 1.
        :param elapsed: seconds since the first attempt started.
        :param jitter: a random number in [0, 1): spreads clients that failed together.
        :param retry_after: what the remote requested, in seconds.
        """
        if attempt >= self.attempts:
            return None
        backoff = min(self.longest_wait, self.first_wait * 2 ** (attempt - 1)) * (0.5 + jitter / 2)
        requested = min(retry_after, self.longest_retry_after) if retry_after is not None else 0.0
        wait = max(backoff, requested)
        return wait if elapsed + wait < self.total_seconds else None


class RetryBudget:
    """
    How often, and for how long, one flow may still retry, whatever requests it consists of.

    :param retry: the policy.
    :param now: the local time, in seconds since the epoch.
    """

    def __init__(self, retry: RetryPolicy, now: float) -> None:
        self.policy = retry
        self._since = now
        self._failures = 0
        self._lost = 0.0

    def wait(self, now: float, jitter: float, retry_after: float | None, *, by_time: bool) -> float | None:
        """
        Seconds to wait after a failure, or ``None`` to give up.

        :param retry_after: what the remote requested, in seconds.
        :param by_time: whether only the time limits the attempts.
        """
        self._failures += 1
        number = min(self._failures, max(1, self.policy.attempts - 1)) if by_time else self._failures
        return self.policy.wait(number, self._lost + now - self._since, jitter, retry_after)

    def exclude(self, seconds: float) -> None:
        """Do not count a pause that is no retry. :param seconds: how long it was."""
        self._since += seconds

    def advance(self, now: float) -> None:
        """Record that a part of a long flow is done: the time it took counts only as far as attempts failed."""
        self._lost += now - self._since if self._failures else 0.0
        self._since, self._failures = now, 0


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """
    Read a ``Retry-After`` header, in its seconds or its date form (RFC 9110 §10.2.3).

    :param headers: header fields, names in lower case.
    :param now: the local time; the remote's own ``Date``, where it sent one, is preferred to it, so that a
        clock that is off does no harm.
    """
    header = headers.get("retry-after", "").strip()
    if header.isascii() and header.isdigit():
        return float(header)
    until, date = http_date(header), http_date(headers.get("date", "")) or now
    return max(0.0, (until - date).total_seconds()) if until else None
