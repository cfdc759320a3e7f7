"""
Runs a flow against a script of expected requests and their replies.

:class:`ScriptedRemote` gives each request the next scripted reply; pauses move its virtual clock. :class:`Speech`
has the requests and replies of each version of Airflow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, TypeVar

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import RemoteError
from astronomer_remote.api.protocol.flow import Flow, Request, Response, TransportError
from astronomer_remote.api.protocol.models import Generation, utc_text
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.testing import VirtualClock, drive

T = TypeVar("T")

URL = "https://airflow.example.com"
OPEN = Settings(URL, authentication="none")
EXPERIMENTAL, V1_OLDEST, V1_OLD, V1, V2_OLDEST, V2 = "1.10.15", "2.0.2", "2.2.5", "2.11.2", "3.0.6", "3.3.2"
VERSIONS = (EXPERIMENTAL, V1_OLDEST, V1_OLD, V1, V2_OLDEST, V2)
STABLE = VERSIONS[1:]
DATE = "2026-11-22T07:00:00Z"


def only(version: str) -> str:
    """The rest of a query that requests runs without their confs and notes."""
    fields = (
        "dag_id",
        "dag_run_id",
        "state",
        "logical_date",
        "start_date",
        "end_date",
        "run_type",
        "data_interval_end",
    )
    takes_fields = (2, 9) <= tuple(int(part) for part in version.split(".")) < (3,)
    return "".join(f"&fields={name}" for name in fields) if takes_fields else ""


# Answers


def answer(status: int, body: Any = None, **headers: str) -> Response:
    """A JSON answer."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status, {"content-type": "application/json", **named}, json.dumps(body).encode())


def ok(body: Any, **headers: str) -> Response:
    return answer(200, body, **headers)


def page(status: int = 200, title: str = "Sign in", **headers: str) -> Response:
    """An HTML page: what a proxy, a login or a broken web server sends."""
    text = f"<!DOCTYPE html><html><head><title>\n {title}\n</title></head></html>"
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status, {"content-type": "text/html; charset=utf-8", **named}, text.encode())


def plain(status: int, text: str, **headers: str) -> Response:
    return Response(status, {"content-type": "text/plain", **headers}, text.encode())


LOST = TransportError("RemoteDisconnected")
UNSENT = TransportError("ConnectionRefusedError", sent=False)


@dataclass(frozen=True)
class Turn:
    """
    One request that is due and its answer.

    :param expected: verb and target, as they stand in the request's first line.
    :param reply: what comes back, or the transport's failure.
    :param body: what the request's JSON must be; ``...`` for whatever it is.
    :param authorization: what the ``Authorization`` header must be, ``None`` for no such header.
    """

    expected: str
    reply: Response | TransportError
    body: Any = ...
    authorization: Any = ...
    cookie: Any = ...

    def check(self, request: Request) -> None:
        assert f"{request.method} {request.target}" == self.expected
        if self.body is not ...:
            assert request.body == self.body
        for name, target in (("Authorization", self.authorization), ("Cookie", self.cookie)):
            if target is not ...:
                assert request.headers.get(name) == target


class ScriptedRemote:
    """
    A remote that answers by script, and what there is to talk to it.

    :param settings: how it is reached.
    :param version: the version it has been found to be; ``None`` leaves that to the flow.
    """

    def __init__(
        self, settings: Settings = OPEN, version: str | None = None, *, retry: RetryPolicy | None = None
    ) -> None:
        self.clock = VirtualClock()
        self.requests: list[Request] = []
        self.sleeps = self.clock.sleeps
        self.client = Client(settings, retry=retry, clock=self.clock, jitter=lambda: 0.0)
        self.deployment = Deployment(settings, client=self.client)
        self.speech = Speech(version or V2)
        if version:
            self.play(self.client.dialect(), *self.speech.detection())
            self.requests.clear()

    def play(self, flow: Flow[T], *turns: Turn | Settings) -> T:
        """
        Run a flow against a script, which must come out exactly. Settings are a reply to reading the connection again.

        :return: what the flow returns. :raises RemoteError: what the flow raises.
        """
        left = list(turns)

        def answer_request(request: Request) -> Response | TransportError:
            assert left, f"Not in the script: {request}"
            turn = left.pop(0)
            assert isinstance(turn, Turn), f"{request} instead of reading the settings again"
            turn.check(request)
            return turn.reply

        def answer_reload() -> Settings:
            assert left, "The settings were to be read again, which is not in the script"
            settings = left.pop(0)
            assert isinstance(settings, Settings), f"The settings were to be read again instead of {settings}"
            return settings

        try:
            result = self.drive(flow, answer_request, answer_reload)
        except RemoteError:
            assert not left, f"Never requested: {left}"
            raise
        assert not left, f"Never requested: {left}"
        return result

    def drive(
        self,
        flow: Flow[T],
        answer_request: Callable[[Request], Response | TransportError],
        answer_reload: Callable[[], Settings] = lambda: OPEN,
    ) -> T:
        """Run a flow whose replies come from functions."""

        def handle(request: Request) -> Response | TransportError:
            self.requests.append(request)
            return answer_request(request)

        result = drive(flow, handle, clock=self.clock, reload=answer_reload)
        assert all(seconds >= 0 for seconds in self.sleeps)
        return result


class Speech:
    """The requests to and replies of a version of Airflow, for DAG ``d``."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.numbers = tuple(int(part) for part in version.split("."))
        self.generation = {1: Generation.EXPERIMENTAL, 2: Generation.V1, 3: Generation.V2}[self.numbers[0]]
        self.experimental = self.generation is Generation.EXPERIMENTAL
        self.base = f"/api/{self.generation.value}"
        self.runs_path = f"{self.base}/dags/d/{'dag_runs' if self.experimental else 'dagRuns'}"
        self.id_field = "run_id" if self.experimental else "dag_run_id"
        self.date_field = "logical_date" if self.numbers >= (2, 2) else "execution_date"

    def detection(self) -> list[Turn]:
        """The requests that find out this version, and their answers."""
        probes = ["/api/v2/version", "/api/v1/version", "/api/experimental/test"]
        turns = [Turn(f"GET {probe}", page(404, "404 Not Found")) for probe in probes]
        found = {Generation.V2: 0, Generation.V1: 1, Generation.EXPERIMENTAL: 2}[self.generation]
        said = {"status": "OK"} if self.experimental else {"version": self.version, "git_version": None}
        return [*turns[:found], Turn(f"GET {probes[found]}", ok(said))]

    # Bodies

    def run(self, run_id: str = "r", state: str = "running", date: str | None = DATE, **more: Any) -> dict[str, Any]:
        """A run as this version describes it."""
        if self.experimental:
            return {"id": 1, "dag_id": "d", "run_id": run_id, "execution_date": date, "state": state, "start_date": ""}
        lines = {"dag_id": "d", "dag_run_id": run_id, "state": state, self.date_field: date, "conf": {}, **more}
        return lines | {"execution_date": date} if self.generation is Generation.V1 else lines

    def no_dag(self) -> Response:
        return answer(404, {"error": "Dag id d not found"} if self.experimental else {"detail": "DAG with id d"})

    def exists(self, run_id: str = "r") -> Response:
        """The refusal of a run id that is taken."""
        if self.experimental:
            return answer(400, {"error": f"Run id {run_id} already exists for dag id d"})
        if self.generation is Generation.V1:
            said = f"DAGRun with DAG ID: 'd' and DAGRun ID: '{run_id}' already exists"
            return answer(409, {"detail": said, "status": 409, "title": "Conflict", "type": "about:blank"})
        return answer(409, {"detail": {"reason": "Unique constraint violation", "statement": "hidden"}})

    # Turns

    def post(self, reply: Response | TransportError | None = None, run_id: str = "r", body: Any = ...) -> Turn:
        """The request that triggers a run; by default it works."""
        if reply is None and self.experimental:
            reply = ok({"execution_date": DATE, "message": "Created", "run_id": run_id})
        reply = reply or ok(self.run(run_id, "queued"))
        return Turn(f"POST {self.runs_path}", reply, body)

    def get(self, *runs: Mapping[str, Any], run_id: str = "r") -> Turn:
        """The request that reads one run; 1.10 has to list them all."""
        if self.experimental:
            return Turn(f"GET {self.runs_path}", ok(list(runs)))
        found = [run for run in runs if run["dag_run_id"] == run_id]
        return Turn(self.get_line(run_id), ok(found[0]) if found else self.no_run(run_id))

    def get_line(self, run_id: str = "r") -> str:
        """First line of the request that reads one run."""
        return f"GET {self.runs_path}" + ("" if self.experimental else f"/{run_id}")

    def no_run(self, run_id: str = "r") -> Response:
        if self.experimental:
            return ok([])
        return answer(404, {"detail": f"DAGRun with DAG ID: 'd' and DagRun ID: '{run_id}' not found"})

    def of_date(self, *runs: Mapping[str, Any], date: str = DATE) -> Turn:
        """The request that lists the runs of a date; 1.10 has to list them all."""
        if self.experimental:
            return Turn(f"GET {self.runs_path}", ok(list(runs)))
        name = "logical_date" if self.generation is Generation.V2 else "execution_date"
        when = date.replace(":", "%3A")
        return Turn(
            f"GET {self.runs_path}?limit=100&offset=0&{name}_gte={when}&{name}_lte={when}",
            ok({"dag_runs": list(runs), "total_entries": len(runs)}),
        )

    def newest(self, *runs: Mapping[str, Any], clock: VirtualClock | None = None, total: int | None = None) -> Turn:
        """The request for the newest run; 1.10 has to list them all, and 2.0 lists the last ones last."""
        if self.experimental:
            return Turn(f"GET {self.runs_path}", ok(list(runs)))
        order = "&order_by=-id" if self.numbers >= (2, 1) else ""
        if self.generation is Generation.V2:
            due = utc_text(datetime.fromtimestamp((clock or VirtualClock()).now + 60, timezone.utc), "due").replace(
                ":", "%3A"
            )
            order = f"&order_by=-run_after&run_after_lte={due}"
        body = {"dag_runs": list(runs), "total_entries": len(runs) if total is None else total}
        return Turn(f"GET {self.runs_path}?limit=10&offset=0{order}", ok(body))

    def import_errors(self, *failures: Mapping[str, Any]) -> list[Turn]:
        """The request for broken DAG files, which 1.10 does not have."""
        if self.experimental:
            return []
        body = {"import_errors": list(failures), "total_entries": len(failures)}
        return [Turn(f"GET {self.base}/importErrors?limit=100", ok(body))]


def with_secret(settings: Settings, **changes: Any) -> Settings:
    return replace(settings, **changes)
