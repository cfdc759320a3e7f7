"""What tasks of local Airflow DAGs do with AstronomerHook."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import task

from astronomer_remote.hooks.astronomer import AstronomerHook

if TYPE_CHECKING:
    from _given import Given


def hook_reads(given: Given) -> None:
    @task
    def read() -> dict[str, Any]:
        hook = AstronomerHook(given.connection)

        async def twins() -> list[Any]:
            twin = AstronomerHook(given.connection)
            return [[pool.name for pool in await twin.async_list_pools()], str((await twin.async_get_version())[1])]

        generation, version = hook.get_version()
        health_page = "/api/v2/monitor/health" if given.version >= (3, 0) else "/health"
        return {
            "generation": generation.value,
            "version": str(version),
            "health": dict(hook.get_health().components),
            "pools": [pool.name for pool in hook.list_pools()],
            "twins": asyncio.run(twins()),
            # An endpoint without a method of its own.
            "called": hook.call("GET", "/latest_runs" if given.version < (2, 0) else "/eventLogs"),
            # HttpHook's own way.
            "page": hook.run(health_page).json(),
        }

    read()


def hook_pools(given: Given) -> None:
    @task
    def change() -> list[int]:
        hook = AstronomerHook(given.connection)
        about = {"description": "made by a live test"} if given.version >= (2, 3) or given.version < (2, 0) else {}
        made = hook.create_pool("live", 3, **about)
        hook.create_pool("short-lived", 1)
        hook.delete_pool("short-lived")
        hook.update_pool("default_pool", slots=17)
        return [made.slots, hook.update_pool("live", slots=5).slots, hook.get_pool("live").slots]

    change()


def hook_config(given: Given) -> None:
    @task(retries=2)
    def read() -> str:
        return AstronomerHook(given.connection).get_config()["core"]["dags_folder"]

    read()


def hook_cancels(given: Given) -> None:
    @task(retries=2)
    def cancel() -> list[str | None]:
        hook = AstronomerHook(given.connection)
        run = hook.trigger_dag_run("paused_dag", run_id="to_cancel")
        return [run.state, hook.cancel_dag_run("paused_dag", run.run_id).state]

    cancel()


def test_button(given: Given) -> None:
    @task
    def press() -> list[list[bool | str]]:
        return [once_answered(connection) for connection in (given.connection, given.wrong, given.down)]

    def once_answered(connection: str) -> list[bool | str]:
        """Press again, as a person would, where the remote's SQLite was locked."""
        for _ in range(3):
            right, said = AstronomerHook(connection).test_connection()
            if "HTTP 500" not in said:
                break
        return [right, said]

    press()
