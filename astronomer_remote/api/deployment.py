"""
Everything that can be done with one remote deployment, as flows.

The hook offers each public method below by the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import NoneType
from typing import Any
from uuid import uuid4

from astronomer_remote.api.assets.assets import Assets
from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.connection_test import ConnectionTest
from astronomer_remote.api.dialects.base import Operation
from astronomer_remote.api.pools.loans import Loans
from astronomer_remote.api.pools.pools import Pools
from astronomer_remote.api.pools.sync import PoolSync
from astronomer_remote.api.protocol.errors import InvalidSettings, NotFound, UnexpectedReply
from astronomer_remote.api.protocol.flow import LARGEST_REPLY, Flow, Request
from astronomer_remote.api.protocol.ids import run_id_of_key
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEvent,
    AssetEventIntent,
    Dag,
    DagRun,
    Generation,
    Health,
    Pool,
    TaskInstance,
    TriggerIntent,
    Version,
    asset_ref,
    plain_json,
    utc_text,
)
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.runs.dags import Dags
from astronomer_remote.api.runs.failure import Failures
from astronomer_remote.api.runs.follow import RunFollower
from astronomer_remote.api.runs.poll import Poller
from astronomer_remote.api.runs.runs import IfExists, Runs
from astronomer_remote.api.runs.task_logs import TaskLogs
from astronomer_remote.api.runs.xcoms import Results

NOW = "now"
"""A logical date that stands for the time of the request."""

ATTEMPTS_IF_MISSING = 3
"""How often a request to an endpoint of the caller's choice is sent if a page of status 404 comes back."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Deployment:
    """
    A remote deployment.

    :param settings: where it is and how to reach it.
    :param retry: when requests are retried.
    :param client: how to talk to it, instead of both.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        retry: RetryPolicy | None = None,
        client: Client | None = None,
    ) -> None:
        self.client = client or Client(settings, retry=retry)
        self.dags = Dags(self.client)
        self.runs = Runs(self.client, self.dags)
        self.assets = Assets(self.client, self.runs)
        self.pools = Pools(self.client)
        self.loans = Loans(self.client, self.pools)
        self.pool_sync = PoolSync(self.client, self.pools)
        self.follower = RunFollower(self.client)
        self.poller = Poller(self.client, self.runs, self.follower)
        self.task_logs = TaskLogs(self.client, self.runs, self.poller)
        self.failures = Failures(self.client)
        self.results = Results(self.client)

    @property
    def settings(self) -> Settings:
        """Where it is and how to reach it, as last read."""
        return self.client.settings

    # DAG runs

    def trigger_dag_run(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        key: str | None = None,
        conf: Mapping[str, Any] | None = None,
        logical_date: str | datetime | None = NOW,
        run_after: str | datetime | None = None,
        data_interval: tuple[str | datetime, str | datetime] | None = None,
        note: str | None = None,
        partition_key: str | None = None,
    ) -> Flow[DagRun]:
        """
        Trigger a DAG run, exactly once however often its request or reply is lost on the way.

        :param dag_id: DAG of the remote.
        :param run_id: id of the run; by default a unique one. The note of a run with an id of your own gets a last
            line that shows whose it is, should its request arrive twice; Airflow 2.5 and later.
        :param key: text such as a commit, from which the run id is derived instead: a second call with the same key
            and DAG returns the run of the first, whatever its state.
        :param conf: JSON object for the run, default ``{}``.
        :param logical_date: datetime or ISO 8601 text, UTC if without a zone; by default the time of the
            request or, with ``run_after`` or ``partition_key``, none. ``None``: no date; only Airflow 3 has such
            runs, earlier ones get the time of the request.
        :param run_after: do not start before; Airflow 3.
        :param data_interval: start and end; Airflow 2.9 and later.
        :param note: note of the run; Airflow 2.5 and later.
        :param partition_key: partition of the run; Airflow 3.2 and later.
        :return: the run. If one of this id or logical date exists, see
            ``DagRunAlreadyExists``.
        :raises DagNotFound: with the import errors that the remote shows.
        :raises DagRunAlreadyExists: naming the existing run, its state and link.
        :raises NotSupported: for what the remote's generation cannot do.
        """
        if key is not None and run_id is not None:
            raise InvalidSettings("Give only one of key and run_id.")
        given = logical_date if logical_date != NOW else None
        generated = f"remote__{uuid4()}" if key is None else run_id_of_key(key, dag_id=dag_id)
        intent = TriggerIntent(
            dag_id=dag_id,
            run_id=run_id if run_id is not None else generated,
            conf=_object(conf, "conf"),
            logical_date=utc_text(given, "logical_date") if given else None,
            dated_now=logical_date == NOW and not run_after and partition_key is None,
            mark=uuid4().hex[:16] if run_id is not None else None,
            run_after=utc_text(run_after, "run_after") if run_after else None,
            data_interval=_interval(data_interval),
            note=note,
            partition_key=partition_key,
        )
        triggered = yield from self.runs.ensure(intent, IfExists(generated_id=run_id is None))
        return triggered.run

    def get_dag_run(self, dag_id: str, run_id: str) -> Flow[DagRun]:
        """Read one DAG run. :raises DagRunNotFound: if there is none."""
        return (yield from self.runs.get(dag_id, run_id))

    def get_newest_dag_run(self, dag_id: str) -> Flow[DagRun | None]:
        """
        Read the newest DAG run of a DAG.

        :return: the one that was made last or, in Airflow 3, that was due last, without those that are planned for
            later; ``None`` if there is none.
        """
        return (yield from self.runs.newest(dag_id))

    def list_dag_runs(self, dag_id: str, *, logical_date: str | datetime | None = None) -> Flow[list[DagRun]]:
        """
        List the runs of a DAG, all of them.

        :param logical_date: only those of this date.
        """
        date = utc_text(logical_date, "logical_date") if logical_date else None
        return (yield from self.runs.list_all(dag_id, date))

    def cancel_dag_run(self, dag_id: str, run_id: str) -> Flow[DagRun]:
        """
        Set a DAG run to failed, which ends its running tasks; a run that has ended is left as it is.

        :return: the run as it is afterwards.
        :raises NotSupported: on 1.10 and 2.0, whose API cannot.
        """
        return (yield from self.runs.cancel(dag_id, run_id))

    def clear_dag_run(self, dag_id: str, run_id: str, *, only_failed: bool = False) -> Flow[DagRun]:
        """
        Let a DAG run run again under the same run id.

        :param only_failed: only its failed and upstream-failed tasks, default ``False``.
        :return: the run as it is afterwards.
        :raises NotSupported: on 1.10, whose API cannot.
        """
        run = yield from self.runs.get(dag_id, run_id)
        return (yield from self.runs.clear(run, only_failed=only_failed))

    def delete_dag_run(self, dag_id: str, run_id: str) -> Flow[None]:
        """Delete a DAG run. :raises DagRunNotFound: if there is none. :raises NotSupported: on 1.10."""
        yield from self.runs.delete(dag_id, run_id)

    # Tasks and DAGs

    def list_task_instances(self, dag_id: str, run_id: str) -> Flow[list[TaskInstance]]:
        """List the task instances of a DAG run. :raises NotSupported: on 1.10."""
        run = yield from self.runs.get(dag_id, run_id)
        return (yield from self.poller.task_instances(run))

    def get_task_log(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, try_number: int | None = None
    ) -> Flow[str]:
        """
        Read the log of a task.

        :param map_index: instance of a mapped task, from 0; -1 for any other.
        :param try_number: which try, default the last one.
        :return: its lines; of a very long one, the last 5,000, or in Airflow 2 the last 256 KB.
        :raises NotFound: if there is no such run, task, instance or try, or if it has not started.
        :raises NotSupported: on 1.10.
        """
        return (yield from self.task_logs.text(dag_id, run_id, task_id, map_index=map_index, try_number=try_number))

    def get_xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, map_index: int = -1
    ) -> Flow[Any]:
        """
        Read an XCom value of the remote.

        :return: the value; from remotes before 2.10, Python's text form of it.
        :raises NotSupported: on 1.10.
        """
        dialect = yield from self.client.dialect()
        return (yield from self.client.request(dialect.xcom(dag_id, run_id, task_id, key, map_index)))

    def get_dag(self, dag_id: str) -> Flow[Dag]:
        """Read one DAG. :raises DagNotFound: with what the remote says of broken DAG files."""
        return (yield from self.dags.get(dag_id))

    def pause_dag(self, dag_id: str) -> Flow[None]:
        """Pause a DAG: its runs start no more tasks."""
        yield from self.dags.set_paused(dag_id, paused=True)

    def unpause_dag(self, dag_id: str) -> Flow[None]:
        """Unpause a DAG."""
        yield from self.dags.set_paused(dag_id, paused=False)

    # Pools

    def list_pools(self) -> Flow[list[Pool]]:
        """List every pool."""
        return (yield from self.pools.list_all())

    def get_pool(self, name: str) -> Flow[Pool]:
        """Read one pool. :raises NotFound: if there is none."""
        return (yield from self.pools.get(name))

    def create_pool(
        self, name: str, slots: int, *, description: str | None = None, include_deferred: bool | None = None
    ) -> Flow[Pool]:
        """
        Create a pool.

        :param slots: its size, -1 for unlimited (1.10 and Airflow 3.1.8 and later).
        :param include_deferred: whether deferred tasks hold slots; Airflow 2.7 and later.
        :raises Conflict: if there is one of this name.
        """
        pool = Pool(name, slots, description=description, include_deferred=include_deferred)
        return (yield from self.pools.create(pool))

    def update_pool(
        self,
        name: str,
        *,
        slots: int | None = None,
        description: str | None = None,
        include_deferred: bool | None = None,
    ) -> Flow[Pool]:
        """Change what is given of a pool, and nothing else. :raises NotFound: if there is none."""
        return (
            yield from self.pools.update(name, slots=slots, description=description, include_deferred=include_deferred)
        )

    def ensure_pool(
        self, name: str, slots: int, *, description: str | None = None, include_deferred: bool | None = None
    ) -> Flow[bool]:
        """
        Create a pool, or change it where it differs.

        :param description: ``None`` leaves it as it is; so with the next one.
        :return: whether anything was changed.
        """
        pool = Pool(name, slots, description=description, include_deferred=include_deferred)
        return (yield from self.pools.ensure(pool)) is not None

    def delete_pool(self, name: str) -> Flow[None]:
        """Delete a pool, even one with occupied slots. :raises NotFound: if there is none."""
        yield from self.pools.delete(name)

    # Assets

    def list_assets(self, *, uri_pattern: str | None = None) -> Flow[list[Asset]]:
        """
        List assets; datasets in Airflow 2.

        :param uri_pattern: only those whose URI contains this text, at most 10,000; ``%`` and ``_`` are wildcards.
        :raises NotSupported: by Airflow before 2.4.
        """
        return (yield from self.assets.list_all(uri_pattern))

    def list_asset_events(
        self, asset: Any = None, *, uri: str | None = None, since: str | datetime | None = None, limit: int = 100
    ) -> Flow[list[AssetEvent]]:
        """
        List asset events, newest first.

        :param asset: only those of this asset: its URI or name, or Airflow's ``Asset`` or ``Dataset``.
        :param uri: the same by URI only.
        :param since: only those from this moment on, by the remote's clock: datetime or ISO 8601 text, UTC if without
            a zone.
        :param limit: how many at most, default 100.
        :raises NotFound: for an unknown asset, naming similar ones.
        :raises NotSupported: by Airflow before 2.4.
        """
        begin = utc_text(since, "since") if since is not None else None
        if asset is None and uri is None:
            return (yield from self.assets.list_events(since=begin, most=limit))
        found = yield from self.assets.get(asset_ref(asset, uri))
        return (yield from self.assets.list_events(found, since=begin, most=limit))

    def create_asset_event(
        self,
        asset: Any = None,
        *,
        uri: str | None = None,
        extra: Mapping[str, Any] | None = None,
        partition_key: str | None = None,
    ) -> Flow[AssetEvent]:
        """
        Register an asset event, once however often its request or reply is lost.

        :param asset: its asset: URI or name, or Airflow's ``Asset`` or ``Dataset``.
        :param uri: URI of the asset, instead.
        :param extra: JSON object for the event, default ``{}``. The event's extra also gets the key
            ``astronomer_remote_intent``, an id by which the event is found again.
        :param partition_key: partition of the event; Airflow 3.2 and later.
        :raises NotFound: for an unknown asset, naming similar ones.
        :raises NotSupported: by Airflow before 2.9.
        """
        intent = AssetEventIntent(asset_ref(asset, uri), uuid4().hex[:16], _object(extra, "extra"), partition_key)
        return (yield from self.assets.register_event(intent))

    def materialize_asset(
        self,
        asset: Any = None,
        *,
        uri: str | None = None,
        run_id: str | None = None,
        conf: Mapping[str, Any] | None = None,
    ) -> Flow[DagRun]:
        """
        Trigger the DAG that produces an asset, once however often the request or its reply is lost.

        :param asset: URI or name, or Airflow's ``Asset`` or ``Dataset``.
        :param uri: URI of the asset, instead.
        :param run_id: id of the run; by default a unique one.
        :param conf: JSON object for the run, default ``{}``.
        :return: the run; in Airflow 3.3 and later of type ``asset_materialization``, before ``manual``.
        :raises NotFound: for an unknown asset, or one that no DAG produces.
        :raises Conflict: if several DAGs produce it, or ``DagRunAlreadyExists``.
        :raises NotSupported: by Airflow before 2.4.
        """
        intent = TriggerIntent(
            dag_id="",
            run_id=run_id if run_id is not None else f"remote__{uuid4()}",
            conf=_object(conf, "conf"),
            mark=uuid4().hex[:16] if run_id is not None else None,
        )
        flow = self.assets.materialize(asset_ref(asset, uri), intent, IfExists(generated_id=run_id is None))
        return (yield from flow).run

    # The deployment itself

    def get_version(self) -> Flow[tuple[Generation, Version | None]]:
        """Return generation and version of the remote; 1.10 does not report its version."""
        dialect = yield from self.client.dialect()
        return dialect.generation, dialect.version

    def get_health(self) -> Flow[Health]:
        """Read the state of the remote's components."""
        dialect = yield from self.client.dialect()
        return (yield from self.client.request(dialect.health()))

    def get_config(self) -> Flow[dict[str, dict[str, str]]]:
        """
        Read the remote's configuration.

        :return: options by section and key.
        :raises AccessDenied: if the remote hides it (``[webserver]`` or, in Airflow 3, ``[api] expose_config``).
        :raises NotSupported: on 1.10, whose API cannot.
        """
        dialect = yield from self.client.dialect()
        return (yield from self.client.request(dialect.config()))

    def call(self, method: str, endpoint: str, json: Any = None, params: Mapping[str, Any] | None = None) -> Flow[Any]:
        """
        Call any endpoint of the remote's REST API, with the same login, retries and errors as all other methods.

        :param method: HTTP verb.
        :param endpoint: path as in Airflow's reference, for example ``/dags/my_dag/tasks``; ids in it are to be
            quoted by the caller.
        :param json: body.
        :param params: query; a list repeats the name, ``None`` is left out.
        :return: the reply's JSON, ``None`` if it has no body.
        :raises NotFound: if there is nothing of this path; also if Airflow 1.10 answers with a page that says so.
        """
        if method.upper() not in METHODS:
            raise InvalidSettings(f"method={method!r} must be one of: {', '.join(METHODS)}.")
        dialect = yield from self.client.dialect()
        given = {name: value for name, value in (params or {}).items() if value is not None}
        path = dialect.endpoint(endpoint)
        request = Request(method.upper(), path, given, plain_json(json, "json"), largest_reply=LARGEST_REPLY)
        operation = Operation(request, _as_is, f"call {request.method} {endpoint}")
        try:
            return (yield from self.client.request(operation, ATTEMPTS_IF_MISSING))
        except (NotFound, UnexpectedReply) as error:
            if error.status != 404:
                raise
            error.message = f"{error.message} {dialect.label} may not have this endpoint."
            if dialect.generation is not Generation.EXPERIMENTAL or isinstance(error, NotFound):
                raise
            # It answers a path that it does not know with a page, as a gateway does that does not find it.
            raise error.restated(NotFound, error.message) from None

    def describe(self) -> Flow[str]:
        """Describe the remote: its version, its health, and what the account may do. Changes nothing."""
        return (yield from ConnectionTest(self.client).report())


def _as_is(body: Any) -> Any:
    return body


def _interval(given: tuple[str | datetime, str | datetime] | None) -> tuple[str, str] | None:
    if given is None:
        return None
    start, end = (utc_text(moment, name) for moment, name in zip(given, ("start", "end"), strict=True))
    return start, end


def _object(given: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """A JSON object that can be sent. :param name: what to call it in an error."""
    if not isinstance(given, (Mapping, NoneType)):
        raise InvalidSettings(f"{name} must be a JSON object, not {type(given).__name__}.")
    found: dict[str, Any] = plain_json(dict(given or {}), name)
    return found
