"""Local DAGs that are scheduled on what happens in a remote."""

from __future__ import annotations

from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.assets import remote_asset, remote_dag_asset
from astronomer_remote.compat import empty_operator

URI = "s3://contract/orphans"
# The test makes this file to remove the others.
MANY = 1 if Path(__file__).with_name("few").exists() else 50

WATCHED = {
    "exact": remote_asset(
        URI, extra={"of": "stream"}, astronomer_conn_id="faulty", poke_interval=3, name="exact", local_conn_id="home"
    ),
    "plain": remote_asset(URI, extra={"of": "stream"}, astronomer_conn_id="faulty", poke_interval=3, name="plain"),
    "runs": remote_dag_asset("produces_asset", astronomer_conn_id="faulty", poke_interval=3, name="runs"),
    **{
        f"many_{number}": remote_asset(
            URI, extra={"many": number}, astronomer_conn_id="many", poke_interval=5, name=f"many_{number}"
        )
        for number in range(MANY)
    },
}

for name, asset in WATCHED.items():
    with DAG(f"on_{name}", schedule=[asset]):
        empty_operator("run")
