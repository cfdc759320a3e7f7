"""How older remotes show whose a run is, and which data interval it has; operator and sensor run in this process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from astronomer_remote.exceptions import DagRunAlreadyExists, NotSupported
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from dev.deployments import Airflow
from dev.versions import Release
from tests.airflow.local import in_dag, local_task
from tests.live.intents import Intents

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

# The last release of each line before 2.11.
VERSIONS = ("2.0.2", "2.1.4", "2.2.5", "2.3.4", "2.4.3", "2.5.3", "2.6.3", "2.7.3", "2.8.4", "2.9.3", "2.10.5")
DAGS = Path(__file__).parent / "dated_dags"


@pytest.fixture(scope="module", params=VERSIONS)
def intents(request: pytest.FixtureRequest) -> Iterator[Intents]:
    components = [each for each in Release.parse(request.param).components if each != "triggerer"]
    remote = Airflow(request.param, name="remote", dags=DAGS, components=components)
    with pytest.MonkeyPatch.context() as patch, remote as deployment:
        yield Intents(deployment, patch)


def triggered(intents: Intents, conn_id: str, try_number: int, dag_id: str = "mine", **arguments: Any) -> str:
    """Let a try of a local task trigger a run. :return: its id."""
    options = {"trigger_dag_id": "nothing", "astronomer_conn_id": conn_id, "retries": 2, **arguments}
    operator = in_dag(RemoteTriggerDagRunOperator, dag_id, **options)
    return str(operator.execute(local_task(operator, try_number=try_number).context()))


def dates(intents: Intents, run_id: str) -> list[str]:
    return [str(run.date) for run in intents.remote.runs(run_id)]


def test_a_run_of_a_given_id_shows_whose_it_is(intents: Intents) -> None:
    conn_id = intents.connect(intents.remote.url)
    for number in (1, 2, 3):
        assert triggered(intents, conn_id, number, trigger_run_id="given") == "given"
    with pytest.raises(DagRunAlreadyExists):
        triggered(intents, conn_id, 2, "existing", trigger_run_id="given")
    (date,) = dates(intents, "given")
    noted = notes(intents, "given")
    if intents.remote.version < (2, 5):
        assert noted == []
    else:
        assert len(noted) == 1
        assert "[astronomer_remote " in noted[0]
    # Nothing else distinguishes its tries where there is no note.
    assert not date.endswith(".000000")


def test_a_run_of_a_given_id_and_date_shows_whose_it_is_where_there_are_notes(intents: Intents) -> None:
    conn_id, given = intents.connect(intents.remote.url), {"trigger_run_id": "dated", "logical_date": "2022-03-04"}
    assert triggered(intents, conn_id, 1, **given) == "dated"
    if intents.remote.version < (2, 5):
        with pytest.raises(DagRunAlreadyExists, match="Nothing of it shows"):
            triggered(intents, conn_id, 2, **given)
    else:
        assert triggered(intents, conn_id, 2, **given) == "dated"
    assert len(dates(intents, "dated")) == 1


def notes(intents: Intents, run_id: str) -> list[str]:
    """What is noted at a run, in the remote's database."""
    if intents.remote.version < (2, 5):
        return []
    sql = "SELECT content FROM dag_run_note JOIN dag_run ON dag_run.id = dag_run_id WHERE run_id = ?"
    return [content for (content,) in intents.remote.query(sql, run_id)]


@pytest.mark.parametrize("hour", [1, 2, 3])
def test_a_scheduled_run_is_found_by_the_end_of_its_data_interval(intents: Intents, hour: int) -> None:
    sensor = in_dag(
        RemoteDagRunSensor,
        external_dag_id="hourly",
        astronomer_conn_id=intents.connect(intents.remote.url),
        match_by="data_interval_end",
        poke_interval=1,
        timeout=60 if hour < 3 else 5,
        soft_fail=False,
    )
    context = local_task(sensor).context()
    context["data_interval_end"] = datetime(2024, 1, 5, hour, tzinfo=timezone.utc)
    if intents.remote.version < (2, 4):
        with pytest.raises(NotSupported, match=r"Airflow 2\.4 and later can"):
            sensor.execute(context)
    elif hour < 3:
        sensor.execute(context)
    else:
        with pytest.raises(Exception, match=r"(?i)time"):
            sensor.execute(context)


def test_a_run_may_be_given_a_data_interval(intents: Intents) -> None:
    conn_id, given = intents.connect(intents.remote.url), ("2023-01-01", "2023-01-02")
    if intents.remote.version < (2, 9):
        with pytest.raises(NotSupported, match=r"cannot be given a data interval\. Airflow 2\.9"):
            triggered(intents, conn_id, 1, "interval", data_interval=given)
    else:
        run_id = triggered(intents, conn_id, 1, "interval", data_interval=given)
        sql = "SELECT data_interval_start, data_interval_end FROM dag_run WHERE run_id = ?"
        ((start, end),) = intents.remote.query(sql, run_id)
        assert (str(start)[:10], str(end)[:10]) == given
