"""The fake deployment answers every flow as real deployments did when they were recorded."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias
from urllib.parse import unquote

import pytest

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import NotSupported
from astronomer_remote.api.protocol.flow import Request, Response
from astronomer_remote.testing import FakeDeployment, drive
from tests.contract import recorded
from tests.contract.flows import TABLE

VERSIONS = ["1.10.15", "2.0.2", "2.2.5", "2.11.2", "3.0.6", "3.1.8", "3.3.2"]

NOT_FAKED = {
    "trigger_with_wrong_conf": "its DAGs have no schema of params",
    "trigger_with_partition_key": "its DAGs are all partitioned",
}

Step: TypeAlias = tuple[str, str, int]
"""Verb, path and status of one request."""

READ = re.compile(
    r"\b(?:dag_id|dag_run_id|run_id|state|logical_date|execution_date|run_after|start_date|end_date|run_type|conf|note|"
    r"is_paused|has_import_errors|fileloc|task_id|map_index|try_number|operator|duration|max_active_runs|name|pool|"
    r"slots|description|include_deferred|\w+_slots|team_name|filename|stack_trace|value|total_entries|version|"
    r"access_token|error|detail|sections|options|key|dag_runs|task_instances|pools|tasks|import_errors|status|"
    r"scheduler|metadatabase|triggerer|dag_processor|response)\b"
)
"""Fields of replies that this package reads."""

UNRECORDED = {"statement", "orig_error", "git_version"}
"""Fields that were left out of the recordings."""

Sent = list[tuple[Request, Response]]


class Player:
    """Runs the flows against a fake, in the order of the table, as `record.py` runs them against real deployments."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.sent: dict[str, Sent] = {}
        self.ended: dict[str, BaseException | None] = {}
        for shows_config in (False, True):
            names = [name for name, played in TABLE.items() if played.shows_config is shows_config]
            config = {"api": {"maximum_page_limit": "100"}} if shows_config else None
            remote = fake(version, config)
            for name in names:
                self._play(name, remote)

    def _play(self, name: str, remote: FakeDeployment) -> None:
        settings = recorded.administrator(recorded.BASE_URL, self._authorization(remote))
        deployment = Deployment(settings)
        drive(deployment.get_version(), remote.handle)
        sent = self.sent[name] = []

        def handle(request: Request) -> Response:
            response = remote.handle(request)
            sent.append((request, response))
            return response

        try:
            drive(TABLE[name].play(deployment), handle)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # it is raised in the test
            self.ended[name] = error
        else:
            self.ended[name] = None

    def _authorization(self, remote: FakeDeployment) -> str:
        if self.version < "3":
            return f"Basic {base64.b64encode(b'admin:admin').decode()}"
        login = Request("POST", "/auth/token", body={"username": "admin", "password": "admin"})
        return f"Bearer {remote.handle(login).json()['access_token']}"


def fake(version: str, config: Any) -> FakeDeployment:
    """The DAGs that the live tests have, as far as a fake knows them."""
    remote = FakeDeployment(version, config=config)
    remote.add_dag("quick", tasks=["hello"], results={"hello": {"conf": {"k": "v", "n": [1, None]}}})
    remote.add_dag("grouped", tasks=["load.a", "load.b", "outside"], results={"load.a": "a"})
    logs = {"boom": ["ValueError: boom on purpose"]}
    ends = {"ok": "success", "after": "upstream_failed"}
    remote.add_dag("failing", tasks=["ok", "boom", "after"], ends="failed", polls=1, task_ends=ends, logs=logs)
    remote.add_dag("sleeper", tasks=["sleep"], stays="running")
    words = [f"word {number} of 5" for number in range(1, 6)]
    remote.add_dag("chatty", tasks=["speak"], polls=3, logs={"speak": words})
    remote.add_dag("flaky", tasks=["maybe"])
    remote.add_dag("with_params", tasks=["show"])
    remote.add_dag("paused_dag", tasks=["nothing"], is_paused=True)
    remote.add_dag("produces_asset", tasks=["produce"])
    remote.add_dag("consumes_assets", tasks=["consume"], is_paused=True)
    if not version.startswith(("1.", "2.0", "2.2")):
        consumers = ["consumes_assets"]
        remote.add_asset("s3://contract/orders", name="orders", producers=["produces_asset"], consumers=consumers)
        remote.add_asset("s3://contract/orphans", name="orphans", consumers=consumers)
    error = "Traceback:\nModuleNotFoundError: No module named 'a_module_that_is_not_installed'"
    remote.add_import_error("/opt/airflow/dags/broken.py", error)
    return remote


@pytest.fixture(scope="module", params=VERSIONS)
def player(request: pytest.FixtureRequest) -> Iterator[Player]:
    return Player(request.param)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in NOT_FAKED])
def test_the_fake_answers_the_flow(player: Player, name: str) -> None:
    numbers = tuple(int(number) for number in player.version.split("."))
    ended = player.ended[name]
    if not TABLE[name].possible(numbers):
        assert isinstance(ended, NotSupported)
    elif ended is not None:
        raise ended


@pytest.mark.parametrize("name", [name for name in TABLE if name not in NOT_FAKED])
def test_the_fake_answers_like_the_real_one(player: Player, name: str) -> None:
    if player.version not in recorded.versions():
        pytest.skip("not recorded")
    real = _settled(
        (_step(each.request["method"], each.request["path"], each.response), each.response)
        for each in _real(player, name)
    )
    faked = _settled((_step(request.method, request.path, each), each) for request, each in player.sent[name])
    # What is looked at first may depend on how soon a scheduler began.
    assert sorted(faked) == sorted(real)
    for step in real:
        missing, invented = _difference(_json(real[step]), _json(faked[step]))
        assert (missing, invented) == (set(), set()), step


def _settled(steps: Iterable[tuple[Step, Response]]) -> dict[Step, Response]:
    """Steps without what was not there yet: a real scheduler takes a moment, the fake does not."""
    found = dict(steps)
    return {step: each for step, each in found.items() if step[2] != 404 or (*step[:2], 200) not in found}


def _real(player: Player, name: str) -> list[recorded.Recorded]:
    return recorded.replies(player.version)[name].operations


def _step(method: str, path: str, response: Response) -> Step:
    # Where runs are known by their dates, those of "now" differ.
    return method, re.sub(r"/20\d\d-\d\d-\d\dT[^/]+", "/<date>", unquote(path)), response.status


def _json(response: Response) -> Any:
    return response.json() if response.is_json and response.body else None


def _difference(real: Any, faked: Any) -> tuple[set[str], set[str]]:
    """Fields that the fake lacks though they are read, and fields that it has though no real one has."""
    if isinstance(real, list) and isinstance(faked, list) and real and faked:
        return _difference(real[0], faked[0])
    if not (isinstance(real, dict) and isinstance(faked, dict)):
        return set(), set()
    missing = {name for name in real.keys() - faked.keys() if READ.fullmatch(name)}
    invented = set(faked.keys() - real.keys() - UNRECORDED)
    for name in real.keys() & faked.keys() - {"conf", "value", "content"}:
        below = _difference(real[name], faked[name])
        missing, invented = missing | below[0], invented | below[1]
    return missing, invented
