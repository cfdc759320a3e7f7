"""
Faults that a request may meet on its way to a remote, and rules that say which request meets which.

A fault is a function of a :class:`ProxiedRequest`: it decides what the remote gets, and what the client gets back.
:class:`dev.proxy.Proxy` uses them.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeAlias

PAGE = b"<html><head><title>Gateway</title></head><body><h1>Something stands before it</h1></body></html>"
CHUNK = 64 * 1024


@dataclass(frozen=True)
class Reply:
    """A whole HTTP reply, its body as it was sent; the fields that frame it are added when it is written."""

    status: int
    fields: Sequence[tuple[str, str]] = (("Content-Type", "application/json"),)
    body: bytes = b""

    def head(self, length: int | None) -> bytes:
        """Status line and fields. :param length: of the body, ``None`` if it comes in chunks."""
        frame = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
        lines = [f"HTTP/1.1 {self.status} -", *(f"{name}: {value}" for name, value in (*self.fields, frame))]
        return "\r\n".join((*lines, "", "")).encode("latin-1")


@dataclass
class ProxiedRequest:
    """
    One request on its way.

    :param method: verb.
    :param target: path and query.
    :param send: sends the request to the remote.
    :param reader: what else the client sends.
    :param writer: to the client.
    :param keeps_alive: whether the client may send another request over its connection.
    """

    method: str
    target: str
    send: Callable[[], Awaitable[Reply]]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keeps_alive: bool = True
    forwarded: bool = False
    remote_status: int | None = None
    status: int | None = None

    async def forward(self) -> Reply:
        """Let the remote have the request. :return: its reply, a 502 if there is none."""
        self.forwarded = True
        reply = await self.send()
        self.remote_status = reply.status
        return reply

    async def answer(self, reply: Reply) -> None:
        """Give the client a whole reply."""
        self.status = reply.status
        self.writer.write(reply.head(len(reply.body)) + reply.body)
        await self.writer.drain()

    async def begin(self, reply: Reply, length: int | None, part: bytes) -> None:
        """Give the client the beginning of a reply only. :param length: of the whole body that is promised."""
        self.status = reply.status
        self.writer.write(reply.head(length) + part)
        await self.writer.drain()

    async def until_gone(self) -> None:
        """Wait until the client gives up."""
        await self.reader.read()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection in the ordinary way."""
        self.keeps_alive = False

    def reset(self) -> None:
        """Break the connection off, as a router does that lost its memory."""
        self.keeps_alive = False
        end: socket.socket = self.writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Fault: TypeAlias = Callable[[ProxiedRequest], Awaitable[None]]


async def none(request: ProxiedRequest) -> None:
    """Go through."""
    await request.answer(await request.forward())


async def lose_reply(request: ProxiedRequest) -> None:
    """The remote gets the request; the client's connection is closed without a reply."""
    await request.forward()
    request.hang_up()


async def reset_before(request: ProxiedRequest) -> None:
    """The connection breaks, and the remote never hears of the request."""
    request.reset()


async def reset_after(request: ProxiedRequest) -> None:
    """The connection breaks after the remote has processed the request."""
    await request.forward()
    request.reset()


async def close_when_idle(request: ProxiedRequest) -> None:
    """Answer, promise to keep the connection, and close it."""
    await none(request)
    request.hang_up()


async def stall(request: ProxiedRequest) -> None:
    """Half of the reply's body comes, and nothing more."""
    reply = await request.forward()
    await request.begin(reply, len(reply.body) or 1, reply.body[: len(reply.body) // 2])
    await request.until_gone()


async def hold(request: ProxiedRequest) -> None:
    """The remote acts, and its reply never comes."""
    await request.forward()
    await request.until_gone()


async def cut_json(request: ProxiedRequest) -> None:
    """A reply that is whole by its length, and not by its JSON."""
    reply = await request.forward()
    await request.answer(replace(reply, body=reply.body.rstrip()[:-1]))


async def wrong_types(request: ProxiedRequest) -> None:
    """A reply whose JSON has the right names and means nothing."""
    reply = await request.forward()
    body = json.loads(reply.body)
    odd: Any = {name: {"odd": [value]} for name, value in body.items()} if isinstance(body, dict) else {"odd": body}
    plain = [each for each in reply.fields if each[0].lower() != "content-encoding"]
    await request.answer(Reply(reply.status, plain, json.dumps(odd).encode()))


async def endless(request: ProxiedRequest) -> None:
    """A reply that does not end, as fast as the client takes it."""
    reply = await request.forward()
    await request.begin(reply, None, b"")
    chunk = b"%x\r\n%s\r\n" % (CHUNK, b" " * CHUNK)
    while not request.writer.is_closing():
        request.writer.write(chunk)
        await request.writer.drain()


def delay(seconds: float) -> Fault:
    """The remote acts at once; the reply comes later."""

    async def fault(request: ProxiedRequest) -> None:
        reply = await request.forward()
        await asyncio.sleep(seconds)
        await request.answer(reply)

    return fault


def instead(reply: Reply, *, after: bool = False) -> Fault:
    """Another reply. :param after: whether the remote gets the request all the same."""

    async def fault(request: ProxiedRequest) -> None:
        if after:
            await request.forward()
        await request.answer(reply)

    return fault


def status(code: int, *, after: bool = False, retry_after: str | None = None) -> Fault:
    """An empty reply of a status."""
    fields = [("Content-Type", "text/plain")] + ([("Retry-After", retry_after)] if retry_after else [])
    return instead(Reply(code, fields), after=after)


def page(code: int, *, after: bool = False) -> Fault:
    """The HTML page of something that stands before the remote."""
    return instead(Reply(code, [("Content-Type", "text/html")], PAGE), after=after)


def said(code: int, detail: str) -> Fault:
    """A refusal in the words of an Airflow."""
    return instead(Reply(code, body=json.dumps({"detail": detail}).encode()))


@dataclass
class Rule:
    """
    Which requests meet a fault.

    :param faults: one of them is drawn each time.
    :param method: verb, any if ``None``.
    :param path: regular expression that is found in the path with its query.
    :param nth: which of the requests that match, from 1; every one if empty.
    :param share: how many of those, drawn at random.
    """

    faults: Sequence[tuple[str, Fault]]
    method: str | None = None
    path: str = ""
    nth: Collection[int] = ()
    share: float = 1.0
    seen: int = field(default=0, init=False)

    def applies(self, request: ProxiedRequest, random: Random) -> tuple[str, Fault] | None:
        """The fault for a request, by name, if it is to meet one."""
        if self.method not in (None, request.method) or not re.search(self.path, request.target):
            return None
        self.seen += 1
        if (self.nth and self.seen not in self.nth) or random.random() >= self.share:
            return None
        return random.choice(self.faults)


AT_RANDOM: tuple[tuple[str, Fault], ...] = (
    ("reply lost", lose_reply),
    ("reset before", reset_before),
    ("reset after", reset_after),
    ("429", status(429, retry_after="1")),
    *(
        (f"{code} {when}", status(code, after=when == "after"))
        for code in (500, 502, 503, 504)
        for when in ("before", "after")
    ),
    ("page", page(200)),
    ("page after", page(200, after=True)),
    ("cut JSON", cut_json),
    ("connection closed when idle", close_when_idle),
)
"""What may happen to any request, without ever lasting long."""
