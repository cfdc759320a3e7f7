"""Read another deployment's configuration, and call an endpoint of its REST API for which the hook has no method."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

with DAG("any_endpoint", schedule=None, default_args={"retries": 2}):

    @task
    def parallelism() -> str:
        from astronomer_remote.hooks.astronomer import AstronomerHook

        # Fails unless the deployment exposes its configuration ([webserver] or, in Airflow 3, [api] expose_config).
        return AstronomerHook("astronomer_default").get_config()["core"]["parallelism"]

    @task
    def newest_events() -> list[dict[str, Any]]:
        from astronomer_remote.hooks.astronomer import AstronomerHook

        hook = AstronomerHook("astronomer_default")
        # The path from Airflow's API reference, without /api/v1 or /api/v2.
        reply = hook.call("GET", "/eventLogs", params={"limit": 10, "order_by": "-event_log_id"})
        return reply["event_logs"]

    parallelism()
    newest_events()
