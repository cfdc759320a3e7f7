"""Threads of the page's own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """
    Runs functions in a few threads.

    They are daemons: a process that ends does not wait for what they do, as it does for a ``ThreadPoolExecutor``.

    :param most: threads at the same time.
    :param name: of the threads.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = Lock()
        self._started = 0
        self._todo: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run a function as soon as a thread is free."""
        future: Future[T] = Future()
        self._todo.put((future, work))
        with self._lock:
            if self._started < self._most:
                self._started += 1
                Thread(target=self._run, name=self._name, daemon=True).start()
        return future

    def _run(self) -> None:
        while True:
            future, work = self._todo.get()
            try:
                found = work()
            except BaseException as error:  # noqa: BLE001  # raised where the result is awaited
                future.set_exception(error)
            else:
                future.set_result(found)
