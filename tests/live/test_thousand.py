"""A thousand deferred tasks in one real triggerer: all finish; the access log shows with how many requests."""

from __future__ import annotations

import json
import math
import time

import pytest

from astronomer_remote.api.waiting.log_stream import SECONDS_BETWEEN_RUNS
from tests.live.plan import DEFERRABLE, Pair
from tests.live.stage import Stage, Waiting, stage

pytestmark = [pytest.mark.live, pytest.mark.timeout(3600)]

PAIRS = (Pair("3.3.2", "3.3.2"), Pair("2.11.2", "2.11.2"))
NUMBER = 1000
INTERVAL = 5.0
QUIET_SECONDS = 120.0
# As many tasks at a time as two processors can do with.
TASKS_AT_ONCE = 8


class Account:
    """The requests to the remote, from one moment to the next."""

    def __init__(self, on: Stage) -> None:
        self._on = on
        self._seen = 0
        self._since = time.monotonic()
        self.facts: dict[str, float] = {}

    def close(self) -> None:
        """Count the requests about runs since the last time."""
        everything = [each for each in self._on.remote.deployment.logged_requests() if "/dagRuns" in each.path]
        since, self._seen = everything[self._seen :], len(everything)
        now = time.monotonic()
        listings = sum(each.path.partition("?")[0].endswith("/dagRuns/list") for each in since)
        triggers = sum(each.method == "POST" for each in since) - listings
        self.facts = {
            "seconds": round(now - self._since, 1),
            "listings": listings,
            "triggers": triggers,
            "reads": len(since) - listings - triggers,
        }
        self._since = now
        print(json.dumps({"pair": str(self._on.pair), **self.facts}))


@pytest.mark.parametrize("both", PAIRS, ids=str)
def test_a_thousand_tasks_wait_for_about_one_request_per_interval_and_end(both: Pair) -> None:
    with stage(both) as on:
        on.local.limit_tasks(TASKS_AT_ONCE)
        account = Account(on)
        (waiting,) = on.start(("thousand", DEFERRABLE))
        waiting.until({"deferred": NUMBER}, [waiting.remote_state] * NUMBER, timeout=1500)
        account.close()
        # A request that a busy remote fails by itself is retried.
        assert NUMBER <= account.facts["triggers"] <= 1.2 * NUMBER
        waits_quietly(account)
        ends_well(waiting, account)


def waits_quietly(account: Account) -> None:
    time.sleep(QUIET_SECONDS)
    account.close()
    # Intervals vary by a tenth; every sixth of them looks at one run singly, and how far one is, is found out every
    # ten seconds.
    polls = account.facts["seconds"] / INTERVAL * 1.1 + 1
    assert 0 < account.facts["listings"] <= polls
    assert account.facts["reads"] <= polls / 6 + 1 + account.facts["seconds"] / SECONDS_BETWEEN_RUNS + 1
    assert account.facts["triggers"] == 0


def ends_well(waiting: Waiting, account: Account) -> None:
    with waiting.stage.opened():
        waiting.until({"success": NUMBER}, ["success"] * NUMBER, timeout=1500)
    account.close()
    # A page for each hundred that ended, and in each poll one that repeats what is known already.
    polls = account.facts["seconds"] / INTERVAL * 1.1 + 1
    assert account.facts["listings"] <= 2 * polls + math.ceil(NUMBER / 100)
    # Each task reads its run once more when it comes back.
    assert NUMBER <= account.facts["reads"] <= 1.2 * NUMBER + polls
    assert account.facts["triggers"] == 0
