"""
Many waits in one event loop, in a process of their own: what :mod:`benchmarks.waiting` measures.

A job comes in as one line of JSON; what happens goes out as lines of JSON. It ends on request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import selectors
import sys
import time
from typing import Any, TypeAlias

import aiohttp

from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting.target import WaitTarget
from astronomer_remote.api.watch.watcher import watch

Job: TypeAlias = "dict[str, Any]"
FINISHED = ("success", "failed")
LONG_TURN = 0.01
"""Shorter turns are not reported, in seconds."""


def report(**fact: Any) -> None:
    print(json.dumps({"at": time.time(), **fact}), flush=True)


async def ours(job: Job, run: dict[str, str], settings: Settings) -> None:
    """Wait as the package's trigger does."""

    async def reload() -> Settings:
        return settings

    target = WaitTarget(
        run["dag_id"],
        run_id=run["run_id"],
        failed_states=("failed",),
        exists=True,
        date=run["date"],
        since=job["since"],
    )
    try:
        await watch(
            target,
            settings=settings,
            reload=reload,
            poke_interval=job["interval"],
            deadline=time.time() + 86_400,
            on_line=lambda line: None,
        )
        report(event=run["run_id"])
    except Exception as error:  # noqa: BLE001  # it is counted
        report(error=repr(error))


async def singly(job: Job, run: dict[str, str], session: aiohttp.ClientSession) -> None:
    """Wait as the best of the others do: one GET per poll over connections that are kept."""
    # Tasks begin to wait at different times.
    await asyncio.sleep(random.random() * job["interval"])
    url = f"{job['url']}/api/{job['generation']}/dags/{run['dag_id']}/dagRuns/{run['run_id']}"
    while True:
        try:
            async with session.get(url, headers=job["headers"]) as reply:
                reply.raise_for_status()
                state = (await reply.json())["state"]
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            # Other providers fail the task now or after a few times; here it continues: more load for the remote.
            report(error=repr(error))
            state = None
        if state in FINISHED:
            return report(event=run["run_id"])
        await asyncio.sleep(job["interval"])


class Observed(selectors.DefaultSelector):
    """Reports how long each turn of the event loop has kept it busy, in CPU time: other processes do not count."""

    since = math.inf

    def select(self, timeout: float | None = None) -> Any:
        busy = time.thread_time() - self.since
        if busy > LONG_TURN:
            report(stall=busy)
        ready = super().select(timeout)
        self.since = time.thread_time()
        return ready


async def main() -> None:
    report(stage="loaded")
    job = json.loads(sys.stdin.readline())
    settings = Settings.parse(host=job["url"], login=job["login"], password=job["password"])
    async with aiohttp.ClientSession() as session:
        waits = [ours(job, run, settings) if job["way"] == "ours" else singly(job, run, session) for run in job["runs"]]
        tasks = [asyncio.create_task(each) for each in waits]
        report(stage="waiting")
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    with contextlib.closing(asyncio.SelectorEventLoop(Observed())) as event_loop:
        event_loop.run_until_complete(main())
