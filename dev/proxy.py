"""
A proxy on the loopback interface that lets requests through to a remote, or lets them meet faults.

``python -m dev.proxy http://127.0.0.1:8080 --share 0.2 --seed 7`` prints its address and every request.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from types import TracebackType

import aiohttp
from yarl import URL

from dev.faults import AT_RANDOM, ProxiedRequest, Reply, Rule, none

# They concern one connection, and the remote's is another one than the client's. Bodies come as they are, so that
# faults can be made of them.
NOT_PASSED_ON = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade", "accept-encoding"}
)
SECONDS_FOR_THE_REMOTE = 120.0


@dataclass(frozen=True)
class Passed:
    """
    A request that came by.

    :param fault: name of what it met.
    :param forwarded: whether the remote got it.
    :param remote_status: what the remote answered.
    :param status: what the client was answered, ``None`` if nothing.
    :param seconds: how long it took.
    """

    method: str
    target: str
    fault: str | None
    forwarded: bool
    remote_status: int | None
    status: int | None
    seconds: float = field(default=0.0, compare=False)


class Proxy:
    """
    A context manager that serves from a thread of its own.

    :param target: URL of the remote, without a path.
    :param rules: the first that applies to a request decides; a request that none applies to goes through.
    :param seed: of what is drawn at random; the same requests in the same order meet the same faults.
    :param on_request: gets each request when it is over.
    """

    def __init__(
        self,
        target: str,
        rules: Sequence[Rule] = (),
        *,
        seed: int | None = None,
        on_request: Callable[[Passed], None] | None = None,
    ) -> None:
        self.target = target
        self.rules = list(rules)
        self.seed = Random().randrange(2**32) if seed is None else seed  # noqa: S311  # no secret
        self.passed: list[Passed] = []
        self.url = ""
        self._random = Random(self.seed)  # noqa: S311  # no secret
        self._on_request = on_request
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._talks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Proxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def requests(self, method: str = "", path: str = "", *, forwarded: bool = False) -> int:
        """
        How many requests came by.

        :param method: of this verb.
        :param path: whose target holds this regular expression.
        :param forwarded: that the remote got.
        """
        return sum(
            method in ("", each.method) and re.search(path, each.target) is not None and each.forwarded >= forwarded
            for each in list(self.passed)
        )

    async def _open(self) -> None:
        # A connection of its own for each request: what the proxy breaks off, it breaks off on purpose.
        self._remote = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            skip_auto_headers=("Content-Type", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=SECONDS_FOR_THE_REMOTE),
        )
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._remote.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client's connection until either side has had enough."""
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            # What a client does to its connection is its own business.
            with suppress(OSError, EOFError, asyncio.CancelledError):
                while await self._serve(reader, writer):
                    pass
        finally:
            self._talks.discard(talk)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request. :return: whether another may come."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line)]
        length = next((int(value) for name, value in fields if name.lower() == "content-length"), 0)
        body = await reader.readexactly(length)
        request = ProxiedRequest(method, target, lambda: self._send(method, target, fields, body), reader, writer)
        found = (rule.applies(request, self._random) for rule in self.rules)
        name, fault = next((each for each in found if each), (None, none))
        began = time.monotonic()
        try:
            await fault(request)
        finally:
            self._note(request, name, time.monotonic() - began)
        return request.keeps_alive

    def _note(self, request: ProxiedRequest, fault: str | None, seconds: float) -> None:
        passed = Passed(
            request.method,
            request.target,
            fault,
            request.forwarded,
            request.remote_status,
            request.status,
            seconds,
        )
        self.passed.append(passed)
        if self._on_request:
            self._on_request(passed)

    async def _send(self, method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> Reply:
        kept = [each for each in fields if each[0].lower() not in NOT_PASSED_ON]
        url = URL(self.target + target, encoded=True)
        try:
            async with self._remote.request(
                method, url, headers=kept, data=body or None, allow_redirects=False
            ) as reply:
                named = [each for each in reply.headers.items() if each[0].lower() not in NOT_PASSED_ON]
                return Reply(reply.status, named, await reply.read())
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            return Reply(502, [("Content-Type", "text/plain")], f"no answer: {type(error).__name__}".encode())


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m dev.proxy", description="Lets requests meet faults.")
    parser.add_argument("target", help="URL of the remote")
    parser.add_argument("--share", type=float, default=0.2, help="how many requests meet a fault (default: 0.2)")
    parser.add_argument("--seed", type=int, help="of what is drawn at random")
    options = parser.parse_args()
    rules = [Rule(AT_RANDOM, share=options.share)]
    with Proxy(options.target, rules, seed=options.seed, on_request=lambda each: print(each, flush=True)) as proxy:
        print(f"{proxy.url} leads to {options.target}, seed {proxy.seed}. Ctrl-C stops it.", flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(1)


if __name__ == "__main__":
    main()
