"""The fake deployment: what a test sets up, and what it can check afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import format_datetime
from threading import RLock
from typing import Any
from urllib.parse import parse_qs, urlencode

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.flow import Request, Response, TransportError
from astronomer_remote.api.protocol.models import Version
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.testing.base import PAGE_NOT_FOUND, Api, moment
from astronomer_remote.testing.contents import (
    FINISHED,
    READER,
    Accounts,
    Contents,
    FakeAsset,
    FakeDag,
    FakePool,
    FakeRun,
)
from astronomer_remote.testing.experimental import ExperimentalApi
from astronomer_remote.testing.server import RecordedRequest, Reply, Server
from astronomer_remote.testing.v1 import V1Api
from astronomer_remote.testing.v2 import V2Api

URL_WITHOUT_SERVER = "http://fake-airflow.invalid"


@dataclass
class _Disturbance:
    """Requests that fail. :param status: of the reply; ``None`` loses the reply."""

    status: int | None
    times: int
    method: str | None
    path: str

    def concerns(self, request: RecordedRequest) -> bool:
        return self.times > 0 and self.method in (None, request.method) and self.path in request.path


class FakeDeployment:
    """
    An Airflow deployment in memory: no scheduler, no database.

    It has the part of the REST API that this package uses. Its runs finish when they are read, so that no test has
    to wait. In a ``with`` block it is a real HTTP server on a loopback port::

        with FakeDeployment("2.11.2") as remote:
            remote.add_dag("quick", tasks=["hello"])
            remote.add_dag("bad", ends="failed")
            remote.add_dag("slow", polls=2)
            ...
            assert remote.runs("quick")[0]["conf"] == {"k": "v"}

    Without one, :meth:`handle` answers single requests and no socket is opened::

        remote = FakeDeployment("2.11.2")
        remote.add_dag("quick")
        run = drive(remote.deployment().trigger_dag_run("quick"), remote.handle)

    :param version: version of Airflow: ``1.10.…``, ``2.…`` or ``3.…``.
    :param login: name of a user who may do everything, default ``admin``. A second user, ``viewer`` with the password
        ``viewer``, may only read. ``None``: no request needs a login. Airflow 1.10 never needs one.
    :param password: the user's password, default ``admin``.
    :param api_token: the Astro API token that every request needs, instead of login and password.
    :param api_key: the Astronomer Software API key that every request needs, instead of login and password.
    :param path: path that the URLs of the deployment begin with, such as ``/my-release/airflow``.
    :param config: the configuration that the deployment shows, options by section; by default it shows none.
    :param clock: seconds since the epoch, default the machine's clock.
    """

    def __init__(
        self,
        version: str = "3.3.2",
        *,
        login: str | None = "admin",
        password: str = "admin",  # noqa: S107  # there is nothing to protect
        api_token: str | None = None,
        api_key: str | None = None,
        path: str = "",
        config: Mapping[str, Mapping[str, str]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        shown = {name: dict(options) for name, options in config.items()} if config else None
        self._contents = Contents(clock, config=shown)
        self.clock = clock
        self._login = login
        self._accounts = Accounts({READER: READER} | ({login: password} if login else {}))
        self._scheme = "Bearer " if api_token else ""
        self._secret = api_token or api_key
        self._path = path.rstrip("/")
        self.version = version
        number = Version(version)
        kind: type[Api] = ExperimentalApi if number < (2,) else V1Api if number < (3,) else V2Api
        # A gateway checks the token or key. Behind it, Airflow accepts every request.
        accounts = self._accounts if self._secret is None and login else None
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
        """Stop listening, like a deployment that is down; leaving a ``with`` block does it."""
        if self._server is not None:
            self._server.close()
            self._server = None

    # How to reach it, and what it received

    @property
    def url(self) -> str:
        """Its URL, for a connection's host. :raises RuntimeError: if it is not running."""
        if self._server is None:
            raise RuntimeError("The fake deployment is not running: use it in a `with` block.")
        return self._server.url + self._path

    def connection(self, **fields: Any) -> dict[str, Any]:
        """
        A connection to it: for ``Connection(**…)`` or, as JSON, for an environment variable ``AIRFLOW_CONN_…``.

        :param fields: fields to set or replace.
        """
        secret: dict[str, Any] = {}
        if self._secret is not None:
            secret = {"password": self._secret}
        elif self._login and not isinstance(self._api, ExperimentalApi):
            secret = {"login": self._login, "password": self._accounts.passwords[self._login]}
        host = fields.get("host") or self.url
        return {"conn_type": "astronomer", "host": host, **secret, **fields}

    def deployment(self, *, retry: RetryPolicy | None = None, **fields: Any) -> Deployment:
        """
        The flows of this deployment, with its credentials and its clock; for :func:`drive`.

        :param retry: how often and how long a failed request is repeated, default as in the hook.
        :param fields: fields of the connection to set or replace: ``login``, ``password``, ``extra``.
        """
        host = self.url if self._server else URL_WITHOUT_SERVER + self._path
        parts = self.connection(**{"host": host, **fields})
        del parts["conn_type"]
        settings = Settings.parse(**parts)
        return Deployment(settings, client=Client(settings, retry=retry, clock=self.clock, jitter=lambda: 0.5))

    def handle(self, request: Request) -> Response:
        """
        Answer one request of a flow: the handler for :func:`drive`. It needs no server and opens no socket.

        :raises TransportError: if the reply is lost, see :meth:`disturb`.
        """
        path, _, query = request.target.partition("?")
        headers = {name.lower(): text for name, text in request.headers.items()}
        body = urlencode(request.form).encode() if request.form is not None else request.content() or b""
        fields = parse_qs(query, keep_blank_values=True)
        reply = self._answer(RecordedRequest(request.method, self._path + path, fields, headers, body))
        if reply is None:
            raise TransportError("The connection was closed before a reply.")
        names = {name.lower(): text for name, text in reply.headers.items()}
        return Response(reply.status, {"content-type": reply.content_type, **names}, reply.content())

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path, without the query, of every request so far; :attr:`received` has the whole requests."""
        return [(request.method, request.path) for request in self.received]

    # What it holds

    def add_dag(
        self,
        dag_id: str,
        *,
        tasks: Iterable[str] = ("task",),
        ends: str = "success",
        polls: int = 0,
        stays: str | None = None,
        task_ends: Mapping[str, str] | None = None,
        results: Mapping[str, Any] | None = None,
        mapped: Mapping[str, int] | None = None,
        logs: Mapping[str, Sequence[str]] | None = None,
        is_paused: bool = False,
        is_stale: bool = False,
        has_import_errors: bool = False,
    ) -> None:
        """
        Add a DAG, or change it and keep its runs.

        :param tasks: ids of its tasks; of a task in a group with the group's id: ``load.a``.
        :param ends: final state of its runs, default ``success``.
        :param polls: how often a run is read before it is finished, default 0.
        :param stays: state that its runs keep until :meth:`finish` is called.
        :param task_ends: final states of tasks by task id, default that of their run; of a mapped task also of single
            instances: ``load[2]``.
        :param results: return values of successful tasks by task id; of a mapped task a list of them.
        :param mapped: number of instances of each mapped task; Airflow 2.3 and later.
        :param logs: log lines of tasks, or of single instances of a mapped task; default one line.
        :param is_paused: whether its runs do not start.
        :param is_stale: whether no DAG file defines it any more; Airflow 2 and later.
        :param has_import_errors: whether its file could not be parsed lately; Airflow 2.3 and later.
        """
        known = self._contents.dags.get(dag_id)
        self._contents.dags[dag_id] = FakeDag(
            dag_id,
            tuple(tasks),
            ends=ends,
            polls=polls,
            stays=stays,
            task_ends=dict(task_ends or {}),
            results=dict(results or {}),
            mapped=dict(mapped or {}),
            logs=dict(logs or {}),
            is_paused=is_paused,
            is_stale=is_stale,
            has_import_errors=has_import_errors,
            runs=known.runs if known else {},
        )

    def remove_dag(self, dag_id: str) -> None:
        """Remove a DAG and its runs, as if its file were deleted."""
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
        conf: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """
        Add a DAG run that nobody triggered through the API.

        :param run_id: its id; that of a scheduled run begins with ``scheduled__``.
        :param state: its state; an unfinished run continues like the DAG's other runs.
        :param logical_date: ISO 8601 with a time zone; by default none in Airflow 3, else now.
        :param data_interval: start and end, ISO 8601 with a time zone; by default none.
        :param conf: its conf.
        :return: the run, as in :meth:`runs`.
        """
        date = moment(logical_date) if logical_date else None
        if date is None and not isinstance(self._api, V2Api):
            date = self._contents.now()
        run = FakeRun(dag_id, run_id, state, self._contents.now(), logical_date=date)
        run.conf = dict(conf or {})
        if data_interval:
            run.data_interval_start, run.data_interval_end = map(moment, data_interval)
        self._api.add_run(run)
        if state in FINISHED:
            run.end(state, self._contents.now())
        return run.as_dict()

    def add_pool(
        self,
        name: str,
        slots: int,
        *,
        occupied: int = 0,
        description: str = "",
        include_deferred: bool = False,
        team_name: str | None = None,
    ) -> None:
        """
        Add a pool, or replace it.

        :param slots: its size, ``-1`` for no limit.
        :param occupied: slots in use.
        """
        with self._lock:
            self._contents.pools[name] = FakePool(name, slots, description, include_deferred, occupied, team_name)

    def remove_pool(self, name: str) -> None:
        """Delete a pool."""
        with self._lock:
            del self._contents.pools[name]

    def add_asset(
        self, uri: str, *, name: str | None = None, producers: Iterable[str] = (), consumers: Iterable[str] = ()
    ) -> None:
        """
        Add an asset; Airflow 2.4 and later, which calls it a dataset.

        :param name: its name in Airflow 3, default its URI.
        :param producers: ids of DAGs that have a task with it as an outlet.
        :param consumers: ids of DAGs that are scheduled on it; its events create no runs of theirs.
        """
        with self._lock:
            assets = self._contents.assets
            added = self._contents.now()
            assets.append(FakeAsset(len(assets) + 1, uri, name or uri, added, tuple(producers), tuple(consumers)))

    def add_asset_event(
        self, uri: str, extra: Mapping[str, Any] | None = None, *, partition_key: str | None = None
    ) -> dict[str, Any]:
        """
        Add an event of an asset that nobody registered through the API.

        :param extra: JSON object of the event.
        :param partition_key: its partition; Airflow 3.2 and later.
        :return: the event, as :meth:`asset_events` returns it.
        """
        with self._lock:
            asset = next(asset for asset in self._contents.assets if asset.uri == uri)
            return self._contents.add_asset_event(asset, dict(extra or {}), partition_key).as_dict()

    def asset_events(self, uri: str | None = None) -> list[dict[str, Any]]:
        """The asset events, oldest first: ``uri``, ``name``, ``extra`` and so on. :param uri: only of this asset."""
        return [event.as_dict() for event in self._contents.asset_events if uri in (None, event.asset.uri)]

    def add_import_error(self, filename: str, stack_trace: str) -> None:
        """Add a DAG file that could not be parsed."""
        self._contents.import_errors[filename] = stack_trace

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs of a DAG, oldest first: ``run_id``, ``state``, ``conf``, ``note``, ``logical_date`` and so on."""
        return [run.as_dict() for run in self._contents.dags[dag_id].runs.values()]

    def pools(self) -> dict[str, int]:
        """Sizes of the pools by name."""
        return {pool.name: pool.slots for pool in self._contents.pools.values()}

    # Events

    def finish(self, dag_id: str, run_id: str, state: str = "success") -> None:
        """Finish a run in a state."""
        with self._lock:
            self._contents.dags[dag_id].runs[run_id].end(state, self._contents.now())

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear a run, as a user does in the UI: it runs again."""
        with self._lock:
            dag = self._contents.dags[dag_id]
            dag.clear(dag.runs[run_id], self._api.first_state, only_failed=False)

    def delete(self, dag_id: str, run_id: str) -> None:
        """Delete a run."""
        with self._lock:
            del self._contents.dags[dag_id].runs[run_id]

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str | None) -> None:
        """Set the state of a task in a run; without this, it follows its run."""
        with self._lock:
            self._contents.dags[dag_id].runs[run_id].set_task_state(task_id, state, self._contents.now())

    def change_secret(self, secret: str) -> None:
        """Change the user's password, the token or the key, and invalidate every login."""
        with self._lock:
            if self._secret is not None:
                self._secret = secret
            elif self._login:
                self._accounts.passwords[self._login] = secret
            self._accounts.issued.clear()

    def forget_logins(self) -> None:
        """Invalidate every token and session, as a restart of Airflow does if its secret keys are random."""
        with self._lock:
            self._accounts.issued.clear()

    def disturb(self, status: int | None = 503, *, times: int = 1, method: str | None = None, path: str = "") -> None:
        """
        Make the next requests fail.

        :param status: HTTP status of the reply; ``None``: the request is processed, but its reply is lost.
        :param times: number of requests.
        :param method: only requests with this HTTP method.
        :param path: only requests with this in their path.
        """
        with self._lock:
            self._disturbances.append(_Disturbance(status, times, method, path))

    def _answer(self, request: RecordedRequest) -> Reply | None:
        with self._lock:
            self.received.append(request)
            disturbance = self._next_disturbance(request)
            if disturbance and disturbance.status is not None:
                reply = Reply(disturbance.status, {"detail": "disturbed by the test"})
            else:
                reply = self._carry_out(request)
            if disturbance and disturbance.status is None:
                return None
            date = format_datetime(self._contents.now(), usegmt=True)
            return replace(reply, headers={"Date": date, **reply.headers})

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
