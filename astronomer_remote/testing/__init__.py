"""
A fake deployment, for tests of DAGs that use this package: fast, without a network and without another Airflow.

::

    import json

    from astronomer_remote.testing import FakeDeployment


    def test_my_dag(monkeypatch):
        with FakeDeployment("2.11.2") as remote:
            remote.add_dag("load_orders", tasks=["extract", "load"])
            monkeypatch.setenv("AIRFLOW_CONN_ASTRONOMER_DEFAULT", json.dumps(remote.connection()))
            my_dag.test()
            assert remote.runs("load_orders")[0]["conf"] == {"day": "2024-01-01"}

It needs no pytest; for those who use it there is a fixture in :mod:`astronomer_remote.testing.fixtures`.
"""

from __future__ import annotations

from astronomer_remote.testing.deployment import FakeDeployment
from astronomer_remote.testing.driving import VirtualClock, drive

__all__ = ["FakeDeployment", "VirtualClock", "drive"]
