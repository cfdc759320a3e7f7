"""The hook: the deployment of an Airflow connection, for DAG code and for everything else in this package."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial, update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from airflow.providers.http.hooks.http import HttpHook
from requests import PreparedRequest, Response, Session
from requests.auth import AuthBase

from astronomer_remote import get_provider_info as provider
from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.places import SECONDS_AFTER_REFUSAL, SECONDS_REMEMBERED
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.flow import Flow, only_reads
from astronomer_remote.api.protocol.ids import is_within
from astronomer_remote.api.protocol.redaction import on_issued
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.async_driver import AsyncDriver, async_driver
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure, run_once, seconds_until
from astronomer_remote.compat import (
    connection_parts,
    issued_secrets_masked,
    mask_issued_secret,
    mask_secret,
    off_the_loop,
    parts_of_tested_connection,
)
from astronomer_remote.exceptions import AccessDenied, InvalidSettings, RemoteError, airflow_exceptions

__all__ = ["AstronomerHook"]

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_CONN_ID = "astronomer_default"

if mask_issued_secret not in on_issued:
    on_issued.append(mask_issued_secret)

_READS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Task[Settings]]] = WeakKeyDictionary()
"""Reads of connections in progress."""

SECONDS_TO_TEST = 14.0
"""How long the Test button may take: it runs in a web server, which it must not block."""

TEST_RETRY = RetryPolicy(attempts=1, wakes=False)
"""A test changes nothing, so it does not wake a Deployment."""


def _both(
    action: Callable[Concatenate[Deployment, P], Flow[T]],
) -> tuple[
    Callable[Concatenate[AstronomerHook, P], T],
    Callable[Concatenate[AstronomerHook, P], Coroutine[Any, Any, T]],
]:
    """An operation of the deployment as two methods of the hook, for workers and for event loops."""

    def method(self: AstronomerHook, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run_flow(lambda deployment: action(deployment, *args, **kwargs))

    async def async_method(self: AstronomerHook, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.async_run_flow(lambda deployment: action(deployment, *args, **kwargs))

    update_wrapper(method, action)
    update_wrapper(async_method, action)
    async_method.__name__ = f"async_{action.__name__}"
    return method, async_method


class AstronomerHook(HttpHook):
    """
    Calls the REST API of another Airflow deployment, of any generation.

    Each operation has two methods: a plain one for workers, and one with ``async_`` before its name for event loops.
    Both raise the exceptions of :mod:`astronomer_remote.exceptions`. The constructor does no I/O; generation, version
    and login are detected at the first operation and cached in the hook.

    As an ``HttpHook`` it also has :meth:`run`, authenticated in the same way.

    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default``.
    :param method: HTTP verb that :meth:`run` uses, default ``GET``.
    :param kwargs: TCP keep-alive settings and adapter of ``HttpHook``.
    """

    conn_name_attr = "astronomer_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = provider.CONNECTION_TYPE
    hook_name = provider.HOOK_NAME

    def __init__(self, astronomer_conn_id: str = DEFAULT_CONN_ID, *, method: str = "GET", **kwargs: Any) -> None:
        super().__init__(method=method, http_conn_id=astronomer_conn_id, **kwargs)
        self.astronomer_conn_id = astronomer_conn_id
        self._deployment: Deployment | None = None
        self._session: Session | None = None
        self._session_pid = 0
        self._was_read = False

    # The connection form of Airflow 2.11 to 3.1. Airflow looks for these in the class itself.

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        return provider.connection_form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        return provider.ui_field_behaviour()

    # Operations

    trigger_dag_run, async_trigger_dag_run = _both(Deployment.trigger_dag_run)
    get_dag_run, async_get_dag_run = _both(Deployment.get_dag_run)
    get_newest_dag_run, async_get_newest_dag_run = _both(Deployment.get_newest_dag_run)
    list_dag_runs, async_list_dag_runs = _both(Deployment.list_dag_runs)
    cancel_dag_run, async_cancel_dag_run = _both(Deployment.cancel_dag_run)
    clear_dag_run, async_clear_dag_run = _both(Deployment.clear_dag_run)
    delete_dag_run, async_delete_dag_run = _both(Deployment.delete_dag_run)
    list_task_instances, async_list_task_instances = _both(Deployment.list_task_instances)
    get_task_log, async_get_task_log = _both(Deployment.get_task_log)
    get_xcom, async_get_xcom = _both(Deployment.get_xcom)
    get_dag, async_get_dag = _both(Deployment.get_dag)
    pause_dag, async_pause_dag = _both(Deployment.pause_dag)
    unpause_dag, async_unpause_dag = _both(Deployment.unpause_dag)
    list_pools, async_list_pools = _both(Deployment.list_pools)
    get_pool, async_get_pool = _both(Deployment.get_pool)
    create_pool, async_create_pool = _both(Deployment.create_pool)
    update_pool, async_update_pool = _both(Deployment.update_pool)
    ensure_pool, async_ensure_pool = _both(Deployment.ensure_pool)
    delete_pool, async_delete_pool = _both(Deployment.delete_pool)
    list_assets, async_list_assets = _both(Deployment.list_assets)
    list_asset_events, async_list_asset_events = _both(Deployment.list_asset_events)
    create_asset_event, async_create_asset_event = _both(Deployment.create_asset_event)
    materialize_asset, async_materialize_asset = _both(Deployment.materialize_asset)
    get_config, async_get_config = _both(Deployment.get_config)
    get_version, async_get_version = _both(Deployment.get_version)
    get_health, async_get_health = _both(Deployment.get_health)
    call, async_call = _both(Deployment.call)

    def run_flow(self, flow: Callable[[Deployment], Flow[T]], *, total_seconds: float | None = None) -> T:
        """
        Run a flow against the deployment.

        :param flow: gets the deployment and returns the flow, see :mod:`astronomer_remote.api.protocol.flow`.
        :param total_seconds: limit for all its requests together, default none.
        :return: the result of the flow.
        :raises RemoteError: see :mod:`astronomer_remote.exceptions`.
        """
        ends = None if total_seconds is None else time.monotonic() + total_seconds
        read = partial(self._read_settings, ends=ends)
        with airflow_exceptions():
            if self._deployment is None:
                self._deployment = Deployment(read())
            return self._driver(self._deployment.settings, read, ends).run(flow(self._deployment))

    async def async_run_flow(self, flow: Callable[[Deployment], Flow[T]]) -> T:
        """:meth:`run_flow` on an event loop."""
        with airflow_exceptions():
            async with self.async_driver() as (deployment, driver):
                return await driver.run(flow(deployment))

    @asynccontextmanager
    async def async_driver(self) -> AsyncIterator[tuple[Deployment, AsyncDriver]]:
        """The deployment and an open driver for it, for several flows over the same TCP connections."""
        if self._deployment is None:
            self._deployment = Deployment(await self.shared_settings())
        async with async_driver(self._deployment.settings, self.async_settings) as driver:
            yield self._deployment, driver
        await issued_secrets_masked()

    async def async_settings(self) -> Settings:
        """Read the connection on an event loop."""
        return await off_the_loop(self._read_settings)

    async def shared_settings(self) -> Settings:
        """
        :meth:`async_settings`, read once for all that read the same connection at the same time on this event loop.

        A triggerer reads a connection with several messages to its supervisor, which handles one message at a time, and
        queries its database after each.
        """
        loop = asyncio.get_running_loop()
        reads = _READS.setdefault(loop, {})
        reading = reads.get(self.astronomer_conn_id)
        if reading is None:
            reading = reads[self.astronomer_conn_id] = loop.create_task(self.async_settings())

            def forget(done: asyncio.Task[Settings]) -> None:
                del reads[self.astronomer_conn_id]
                if not done.cancelled():
                    # Those who wait for it may all have been cancelled; asyncio reports errors that nothing reads.
                    done.exception()

            reading.add_done_callback(forget)
        # It must not be cancelled together with one of them.
        return await asyncio.shield(reading)

    def openlineage_namespace(self) -> str | None:
        """The namespace that the deployment's own OpenLineage events have, if the connection names it."""
        with airflow_exceptions():
            settings = self._deployment.settings if self._deployment else self._parse_settings(connection_parts)
            return settings.openlineage_namespace

    def test_connection(self) -> tuple[bool, str]:
        """
        Test the connection, for the form's Test button; within seconds and without changing anything.

        :return: whether it works, and what was found or what to do.
        """
        try:
            with airflow_exceptions():
                ends = time.monotonic() + SECONDS_TO_TEST
                read = partial(self._read_settings, parts_of_tested_connection, retry=TEST_RETRY, ends=ends)
                settings = read()
                hurried = Deployment(settings, retry=TEST_RETRY)
                return True, self._driver(settings, read, ends).run(hurried.describe())
        except RemoteError as error:
            # It is shown in a small box of the form: what is wrong and what to do, without the request.
            return False, error.message

    # Used by HttpHook's own methods, mainly `run`

    def get_conn(
        self, headers: Mapping[Any, Any] | None = None, extra_options: Mapping[str, Any] | None = None
    ) -> Session:
        """
        Make a ``requests`` session for the deployment, authenticated for it alone.

        Unlike ``HttpHook``'s it has timeouts, follows no redirects and sends no connection extras as headers.

        :param headers: additional headers.
        :param extra_options: as in ``HttpHook.run``, overriding the connection.
        """
        with airflow_exceptions():
            settings = self._read_settings()
            if self._deployment is not None and self._deployment.settings.base_url != settings.base_url:
                # The login of another deployment.
                self._deployment = self._session = None
            session = self._new_session(settings)
        self.merged_extra = {
            "timeout": (settings.connect_timeout, settings.read_timeout),
            "allow_redirects": False,
            **(extra_options or {}),
        }
        for name in ("verify", "cert", "proxies", "stream", "max_redirects"):
            setattr(session, name, self.merged_extra.get(name, getattr(session, name)))
        session.auth = _Authorization(self, settings, session)
        session.headers.update({**self.default_headers, **(headers or {})})
        return session

    def url_from_endpoint(self, endpoint: str | None) -> str:
        """
        The URL of an endpoint of :meth:`run`.

        :raises InvalidSettings: if it leads out of the deployment, also if only some servers read it that way.
        """
        url: str = super().url_from_endpoint(endpoint)
        with airflow_exceptions():
            if not is_within(url, self.base_url):
                raise InvalidSettings(
                    f"The endpoint {endpoint!r} may lead out of {self.base_url}. Write a path below that URL, "
                    "without empty or dot segments, backslashes and control characters."
                )
        return url

    def _new_session(self, settings: Settings) -> _Session:
        self.base_url, self._base_url_initialized = settings.base_url, True
        session = _Session(settings)
        self._configure_session_from_mount_adapters(session)
        configure(session, settings)
        return session

    def _driver(self, settings: Settings, reload: Callable[[], Settings], ends: float | None) -> SyncDriver:
        if self._session is None or self._session_pid != os.getpid():
            # After a fork, parent and child would read each other's replies from the same sockets.
            self._session, self._session_pid = self._new_session(settings), os.getpid()
        return SyncDriver(self._session, settings, reload=reload, total_seconds=seconds_until(ends))

    def _read_settings(
        self,
        parts: Callable[[Any], dict[str, Any]] = connection_parts,
        *,
        retry: RetryPolicy | None = None,
        ends: float | None = None,
    ) -> Settings:
        """
        Read the connection, and find the deployment's URL if it has none.

        :param parts: reads the fields of an Airflow connection.
        :param retry: when requests for the URL are retried.
        :param ends: when to give up, by :func:`time.monotonic`.
        """
        settings = self._parse_settings(parts)
        # It is read again after a refusal, for which the deployment may have moved.
        oldest = SECONDS_AFTER_REFUSAL if self._was_read else SECONDS_REMEMBERED
        self._was_read = True
        if settings.base_url:
            return settings
        return run_once(Client(settings, retry=retry).locate(oldest), settings, total_seconds=seconds_until(ends))

    def _parse_settings(self, parts: Callable[[Any], dict[str, Any]]) -> Settings:
        settings = Settings.parse(**parts(self.get_connection(self.astronomer_conn_id)))
        for value in settings.secrets:
            # Airflow masks the password and the extra as a whole, but neither single values in it nor encoded forms.
            mask_secret(value)
        return settings


class _Session(Session):
    """
    A session that drops credentials and the connection's headers when a redirect leads out of the deployment (if
    :meth:`AstronomerHook.run` follows redirects): to another host, or to another path of the same host, where another
    deployment may be. ``requests`` itself drops only ``Authorization``, and only for another host.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self.login_headers: set[str] = {"Authorization", "Cookie"}

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        method, url = request.method or "", request.url or ""
        if self._settings.read_only and not only_reads(method, url):
            raise AccessDenied(
                f"Could not send {method}: the connection is read_only, so that only GET is sent. Use a connection "
                "without read_only for it.",
                method=method,
                path=request.path_url.partition("?")[0],
            )
        return super().send(request, **kwargs)

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        if not is_within(prepared_request.url, self._settings.base_url):
            for name in (*self.login_headers, *self._settings.headers):
                prepared_request.headers.pop(name, None)
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]  # so in the types of requests


class _Authorization(AuthBase):
    """Adds credentials and the connection's extra headers to requests to the deployment, and to no others."""

    def __init__(self, hook: AstronomerHook, settings: Settings, session: _Session) -> None:
        self._hook = hook
        self._session = session
        self._settings = settings

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if is_within(request.url, self._settings.base_url):
            headers = self._hook.run_flow(lambda deployment: deployment.client.authorization(self._settings.base_url))
            for name, value in self._settings.headers.items():
                request.headers.setdefault(name, value)
            request.headers.update(headers)
            self._session.login_headers.update(headers)
        return request
