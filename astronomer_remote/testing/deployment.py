"""The fake deployment itself: what a test says to it and asks of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

from astronomer_remote.api.protocol.models import Version
from astronomer_remote.testing.base import PAGE_NOT_FOUND, Api, moment
from astronomer_remote.testing.contents import FINISHED, READER, Accounts, Contents, FakeDag, FakePool, FakeRun, now
from astronomer_remote.testing.experimental import ExperimentalApi
from astronomer_remote.testing.server import RecordedRequest, Reply, Server
from astronomer_remote.testing.v1 import V1Api
from astronomer_remote.testing.v2 import V2Api


@dataclass
class _Disturbance:
    """Requests that go wrong. :param status: what they are answered; ``None`` loses the reply."""

    status: int | None
    times: int
    method: str | None
    path: str

    def concerns(self, request: RecordedRequest) -> bool:
        return self.times > 0 and self.method in (None, request.method) and self.path in request.path


class FakeDeployment:
    """
    An Airflow deployment in memory, behind a real HTTP server on a loopback port: no scheduler, no database.

    It answers like the real ones as far as this package asks. Its runs end by being looked at, so that no test
    has to wait::

        with FakeDeployment("2.11.2") as remote:
            remote.add_dag("quick", tasks=["hello"])
            remote.add_dag("bad", ends="failed")
            remote.add_dag("slow", looks=2)
            ...
            assert remote.runs("quick")[0]["conf"] == {"k": "v"}

    :param version: version of Airflow that it answers like: ``1.10.…``, ``2.…`` or ``3.…``.
    :param login: name of a user who may do everything, default ``admin``; another one, ``viewer`` with the password
        ``viewer``, may only read. Airflow 1.10 wants no login.
    :param password: the user's password, default ``admin``.
    :param api_token: the Astro API token that everything wants, instead of login and password.
    :param api_key: the Astronomer Software API key that everything wants, instead of login and password.
    :param path: path below which everything lies, such as ``/my-release/airflow``.
    :param config: what the deployment shows of its configuration, options by section; by default it hides it.
    """

    def __init__(
        self,
        version: str = "3.3.2",
        *,
        login: str = "admin",
        password: str = "admin",  # noqa: S107  # there is nothing to protect
        api_token: str | None = None,
        api_key: str | None = None,
        path: str = "",
        config: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._contents = Contents(config={name: dict(options) for name, options in config.items()} if config else None)
        self._login = login
        self._accounts = Accounts({READER: READER, login: password})
        self._scheme = "Bearer " if api_token else ""
        self._secret = api_token or api_key
        self._path = path.rstrip("/")
        self.version = version
        number = Version(version)
        kind: type[Api] = ExperimentalApi if number < (2,) else V1Api if number < (3,) else V2Api
        # A gateway that wants a token or key stands before everything, which then lies open to who got past it.
        accounts = self._accounts if self._secret is None else None
        self._api = kind(self._contents, accounts, number)
        self._server: Server | None = None
        self._disturbances: list[_Disturbance] = []
        self._lock = RLock()
        self.received: list[RecordedRequest] = []

    def __enter__(self) -> FakeDeployment:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start listening; entering a ``with`` block does it."""
        self._server = Server(self._answer, keep_alive=self._api.keep_alive)

    def stop(self) -> None:
        """Stop listening, as a deployment that is down; leaving a ``with`` block does it."""
        if self._server is not None:
            self._server.close()
            self._server = None

    # How to reach it, and what was asked

    @property
    def url(self) -> str:
        """Its address, as it stands in a connection's host."""
        if self._server is None:
            raise RuntimeError("The fake deployment is not running: use it in a `with` block.")
        return self._server.url + self._path

    def connection(self, **fields: Any) -> dict[str, Any]:
        """
        A connection to it: for ``Connection(**…)`` or, as JSON, for an environment variable ``AIRFLOW_CONN_…``.

        :param fields: fields that shall be different.
        """
        secret: dict[str, Any] = {"login": self._login, "password": self._accounts.passwords[self._login]}
        if self._secret is not None:
            secret = {"password": self._secret}
        elif isinstance(self._api, ExperimentalApi):
            secret = {}
        return {"conn_type": "astronomer", "host": self.url, **secret, **fields}

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Verb and path, without the query, of every request so far; :attr:`received` has the whole requests."""
        return [(request.method, request.path) for request in self.received]

    # What it holds

    def add_dag(
        self,
        dag_id: str,
        *,
        tasks: Iterable[str] = ("task",),
        ends: str = "success",
        looks: int = 0,
        stays: str | None = None,
        task_ends: Mapping[str, str] | None = None,
        results: Mapping[str, Any] | None = None,
        mapped: Mapping[str, int] | None = None,
        logs: Mapping[str, Sequence[str]] | None = None,
        is_paused: bool = False,
    ) -> None:
        """
        Add a DAG, or change it and keep its runs.

        :param tasks: ids of its tasks; the one of a task in a group begins with the group's: ``load.a``.
        :param ends: state in which its runs end, default ``success``.
        :param looks: how many looks at a run find it unfinished before one finds it ended, default 0.
        :param stays: state in which its runs stay instead of ending, until :meth:`finish` is called.
        :param task_ends: states in which single tasks end, default that of their run; of a mapped task also single
            instances: ``load[2]``.
        :param results: return values of tasks that succeeded, by task id; of a mapped task a list of them.
        :param mapped: how many instances the mapped ones of the tasks have; Airflow 2.3 and later.
        :param logs: lines of the logs of tasks, or of single instances of a mapped one; default one line.
        :param is_paused: whether its runs do not start.
        """
        known = self._contents.dags.get(dag_id)
        self._contents.dags[dag_id] = FakeDag(
            dag_id,
            tuple(tasks),
            ends=ends,
            looks=looks,
            stays=stays,
            task_ends=dict(task_ends or {}),
            results=dict(results or {}),
            mapped=dict(mapped or {}),
            logs=dict(logs or {}),
            is_paused=is_paused,
            runs=known.runs if known else {},
        )

    def remove_dag(self, dag_id: str) -> None:
        """Remove a DAG and its runs, as if its file were gone."""
        with self._lock:
            del self._contents.dags[dag_id]

    def add_run(
        self,
        dag_id: str,
        run_id: str,
        *,
        state: str = "success",
        logical_date: str | None = None,
        data_interval: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        """
        Add a DAG run that nobody triggered through the API.

        :param run_id: its id; that of a scheduled run begins with ``scheduled__``.
        :param state: its state; an unfinished run goes on as the DAG's runs do.
        :param logical_date: ISO 8601 with a zone; by default none in Airflow 3, else now.
        :param data_interval: start and end, ISO 8601 with a zone; by default none.
        :return: the run, as :meth:`runs` tells it.
        """
        date = moment(logical_date) if logical_date else None
        if date is None and not isinstance(self._api, V2Api):
            date = now()
        run = FakeRun(dag_id, run_id, state, logical_date=date)
        if data_interval:
            run.data_interval_start, run.data_interval_end = map(moment, data_interval)
        self._api.add_run(run)
        if state in FINISHED:
            run.end(state)
        return run.as_dict()

    def add_pool(self, name: str, slots: int, *, occupied: int = 0, description: str = "") -> None:
        """Add a pool, or change it. :param occupied: slots in use."""
        self._contents.pools[name] = FakePool(name, slots, description, occupied=occupied)

    def add_import_error(self, filename: str, stack_trace: str) -> None:
        """Add a DAG file that could not be parsed."""
        self._contents.import_errors[filename] = stack_trace

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs of a DAG, oldest first: ``run_id``, ``state``, ``conf``, ``note``, ``logical_date`` and so on."""
        return [run.as_dict() for run in self._contents.dags[dag_id].runs.values()]

    def pools(self) -> dict[str, int]:
        """Sizes of the pools by name."""
        return {pool.name: pool.slots for pool in self._contents.pools.values()}

    # What happens to it

    def finish(self, dag_id: str, run_id: str, state: str = "success") -> None:
        """End a run."""
        with self._lock:
            self._contents.dags[dag_id].runs[run_id].end(state)

    def clear(self, dag_id: str, run_id: str) -> None:
        """Let a run run again, as somebody who clears it in the UI."""
        with self._lock:
            dag = self._contents.dags[dag_id]
            dag.clear(dag.runs[run_id], self._api.first_state, only_failed=False)

    def delete(self, dag_id: str, run_id: str) -> None:
        """Delete a run."""
        with self._lock:
            del self._contents.dags[dag_id].runs[run_id]

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str | None) -> None:
        """Set the state of a task in a run; without, it goes with its run."""
        with self._lock:
            self._contents.dags[dag_id].runs[run_id].set_task_state(task_id, state)

    def change_secret(self, secret: str) -> None:
        """Change the user's password, the token or the key, and end every login."""
        with self._lock:
            if self._secret is None:
                self._accounts.passwords[self._login] = secret
            else:
                self._secret = secret
            self._accounts.issued.clear()

    def forget_logins(self) -> None:
        """End every login, as a restart of Airflow does where its secrets are random."""
        with self._lock:
            self._accounts.issued.clear()

    def disturb(self, status: int | None = 503, *, times: int = 1, method: str | None = None, path: str = "") -> None:
        """
        Let the next requests go wrong.

        :param status: HTTP status they are answered; ``None``: they are carried out, but their reply is lost.
        :param times: how many of them.
        :param method: only those with this verb.
        :param path: only those with this in their path.
        """
        with self._lock:
            self._disturbances.append(_Disturbance(status, times, method, path))

    def _answer(self, request: RecordedRequest) -> Reply | None:
        with self._lock:
            self.received.append(request)
            disturbance = self._next_disturbance(request)
            if disturbance and disturbance.status is not None:
                return Reply(disturbance.status, {"detail": "disturbed by the test"})
            answer = self._carry_out(request)
            return None if disturbance else answer

    def _next_disturbance(self, request: RecordedRequest) -> _Disturbance | None:
        for disturbance in self._disturbances:
            if disturbance.concerns(request):
                disturbance.times -= 1
                return disturbance
        return None

    def _carry_out(self, request: RecordedRequest) -> Reply:
        if self._secret is not None and request.headers.get("authorization") != self._scheme + self._secret:
            return Reply(401, {"message": "unauthorized"})
        if not request.path.startswith(f"{self._path}/"):
            return PAGE_NOT_FOUND
        path = request.path.removeprefix(self._path)
        return self._api.answer(RecordedRequest(request.method, path, request.query, request.headers, request.body))
