"""A remote that repeats our secrets, in one field of its replies after the other: none gets to people or databases."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Collection
from random import Random
from typing import Any

import pytest

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol import redaction
from astronomer_remote.api.protocol.flow import Request, Response, TransportError
from astronomer_remote.testing import FakeDeployment
from tests.fuzz.flows import FLOWS, furnish
from tests.fuzz.remote import Endless, HostileRemote
from tests.fuzz.test_fuzz_tasks import TASKS, SimulatedTask

VERSIONS = ("1.10.15", "2.2.5", "2.11.2", "3.3.2")
PASSWORD, GATEWAY = "pä55-w0rd/of us", "g4teway key"
ENOUGH = 25
"""Requests after which a wait shows nothing new."""
SHOWN = ("content", "conf", "description", "note", "operator", "state")
"""Fields that get into the logs and XComs of tasks."""
LOGINS = ("/auth/token", "/login/")


@pytest.fixture(autouse=True)
def unmasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave Airflow's own masking of logs out, which would hide what this package does not."""
    monkeypatch.setattr(redaction, "on_issued", [])


class EchoingRemote(HostileRemote):
    """
    A fake deployment that adds all secrets of a request to the values of one field.

    :param field: the field, if any.
    """

    def __init__(self, version: str, field: str | None = None) -> None:
        super().__init__(version, Random(0), 0.0)
        self.fake = FakeDeployment(version, password=PASSWORD, clock=self.clock)
        self.settings = self.deployment().settings
        self.fields: set[str] = set()
        basic = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        self._own = {GATEWAY, *([PASSWORD, basic] if self.settings.login else [])}
        self._echoed = self.secrets = set(self._own)
        self._field = field
        furnish(self)

    def deployment(self) -> Deployment:
        return self.fake.deployment(extra={"secret_headers": {"X-Gate": GATEWAY}})

    def send(self, request: Request) -> Response | TransportError:
        if self.sent >= ENOUGH:
            raise Endless("a wait that does not end")
        reply = super().send(request)
        if isinstance(reply, TransportError) or not reply.is_json or request.path in LOGINS:
            return reply
        shown = [request.headers.get("Authorization", ""), request.headers.get("Cookie", "").removeprefix("session=")]
        # What was issued to another client, such as that of the triggerer, is not known to this one.
        self._echoed = {*self._own, *(text.removeprefix("Bearer ").removeprefix("Basic ") for text in shown if text)}
        self.secrets.update(self._echoed)
        body = self._changed(json.loads(reply.body or b"null"))
        return Response(reply.status, reply.headers, json.dumps(body).encode())

    def _changed(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._changed(each) for each in value]
        if not isinstance(value, dict):
            return value
        self.fields.update(key for key, each in value.items() if each is None or isinstance(each, str))
        return {key: self._echo(each) if key == self._field else self._changed(each) for key, each in value.items()}

    def _echo(self, value: Any) -> Any:
        return " ".join([str(value or ""), *sorted(self._echoed)])


def show(value: Any) -> str:
    """All that is shown of a result or an error, and how it goes to XCom."""
    plain = value.as_dict() if hasattr(value, "as_dict") else None
    inside = [show(each) for each in value] if isinstance(value, (list, tuple)) else []
    return " ".join(
        [str(value), repr(value), str(vars(value) if hasattr(value, "__dict__") else ""), str(plain), *inside]
    )


def carry_out(version: str, field: str | None, act: Callable[[EchoingRemote], Any]) -> tuple[EchoingRemote, str]:
    """Do something in front of a remote that echoes. :return: the remote, and what came of it."""
    remote = EchoingRemote(version, field)
    try:
        result = act(remote)
    except (Exception, Endless) as error:  # noqa: BLE001  # whatever it is, its text is what this is about
        result = error
    return remote, show(result)


def check_each_field(
    version: str,
    act: Callable[[EchoingRemote], Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    *,
    fields: Collection[str] | None = None,
) -> None:
    caplog.set_level(logging.DEBUG)
    plain, _ = carry_out(version, None, act)
    for field in sorted(plain.fields if fields is None else fields):
        caplog.clear()
        capfd.readouterr()
        remote, shown = carry_out(version, field, act)
        printed = capfd.readouterr()
        everywhere = " ".join([shown, caplog.text, printed.out, printed.err])
        for secret in remote.secrets:
            forms = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
            found = [form for form in forms if form in everywhere]
            assert not found, f"{field}: {found} in {everywhere[max(0, everywhere.find(found[0]) - 300) :][:600]}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FLOWS)
def test_no_field_brings_a_secret_back(
    version: str, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    check_each_field(version, lambda remote: remote.drive(FLOWS[name].flow(remote.deployment())), caplog, capfd)


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
@pytest.mark.parametrize("name", [name for name in TASKS if "newest" not in name])
def test_no_field_brings_a_secret_into_logs_or_xcom_of_a_task(
    version: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    not_rescheduled_yet: None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def act(remote: EchoingRemote) -> Any:
        with monkeypatch.context() as patch:
            return SimulatedTask(remote, patch).run(TASKS[name])

    # Those that the operations above do not end at, so that they come as far as an operator takes them.
    check_each_field(version, act, caplog, capfd, fields=SHOWN)
