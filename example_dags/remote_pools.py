"""List the pools of another deployment, and give one of them as many slots as it needs tonight."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

with DAG("remote_pools", schedule=None, default_args={"retries": 2}):

    @task
    def list_pools() -> list[dict[str, Any]]:
        from astronomer_remote.hooks.astronomer import AstronomerHook

        return [pool.as_dict() for pool in AstronomerHook("astronomer_default").list_pools()]

    @task
    def resize(slots: int) -> dict[str, Any]:
        from astronomer_remote.hooks.astronomer import AstronomerHook

        # Only the given fields change; the description and the rest stay as they are.
        return AstronomerHook("astronomer_default").update_pool("warehouse", slots=slots).as_dict()

    list_pools() >> resize(slots=32)
