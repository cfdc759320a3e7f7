"""
Record what real deployments answer: ``python -m tests.contract.record 2.11.2 3.3.2``.

Starts each version with :mod:`dev`, runs the flows of ``flows.py`` against it, measures what its roles may do,
and writes ``replies/<version>.json``. Secrets and names of this machine are replaced before.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import socket
import sys
import time
import traceback
from collections.abc import Collection
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import requests

from astronomer_remote.api.protocol.errors import NotSupported
from astronomer_remote.api.protocol.flow import Request, Response, send
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure
from astronomer_remote.testing import drive
from dev.deployments import ROOT, Airflow
from tests.contract.flows import TABLE
from tests.contract.recorded import BASE_URL, FOLDER, administrator, deployment, described, document, plain
from tests.contract.roles import OPERATIONS, measure
from tests.waiting import RealClock

T = TypeVar("T")

DAGS = ROOT / "tests" / "live" / "remote_dags"

ONE_TASK_AT_A_TIME = {"AIRFLOW__CORE__PARALLELISM": "1"}
"""Lets a deployment's tasks finish on a busy machine."""

USERS = {role: (role, role) for role in ("admin", "viewer", "user", "op")}
"""The logins of the flows, and of the fake deployment."""

HEADERS = ("content-type", "date", "retry-after", "location", "set-cookie")
"""The header fields that this package reads."""

UNREAD = {
    *("class_ref", "dag_version", "dag_versions", "extra_links", "file_token", "hostname", "orig_error", "params"),
    *("rendered_fields", "retry_delay", "statement", "template_fields", "ui_color", "ui_fgcolor", "unixname"),
}
"""Fields left out, since nobody reads them and they are long, differ each time or say more than they should."""

SECRETS = re.compile(r'(?:name="csrf_token"[^>]*value="|session=|"access_token": ?")([^";]+)')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--only", nargs="+", help="run only these flows, show them, and write nothing")
    parser.add_argument("--add", nargs="+", help="run only these, and add them to the earlier recordings")
    arguments = parser.parse_args()
    failed = [version for version in arguments.versions if not record(version, arguments.only, arguments.add)]
    return 1 if failed else 0


def record(version: str, only: Collection[str] | None, add: Collection[str] | None = None) -> bool:
    """Record one version. :return: whether all flows succeeded."""
    numbers = tuple(int(part) for part in version.split("."))
    target = {name: played for name, played in TABLE.items() if name in (only or add or TABLE)}
    before = document(version) if add else {"flows": {}, "roles": {}}
    second = {name for name, played in target.items() if played.shows_config and numbers >= (2, 0)}
    found: dict[str, Any] = {"version": version, "flows": {}, "roles": {}}
    with Airflow(
        version, name="recorded", dags=DAGS, users=USERS, env=ONE_TASK_AT_A_TIME, start_timeout=400
    ) as airflow:
        recorder = Recorder(airflow, numbers)
        for name in (name for name in target if name not in second):
            recorder.play(name)
        if numbers >= (2, 0) and not only:
            names = [name for name in OPERATIONS if name != "config" and name not in before["roles"]]
            found["roles"] = before["roles"] | measure(airflow.url, airflow.users, names)
    whole = recorder.whole
    found["flows"] |= recorder.recordings
    if second:
        web = "api-server" if numbers >= (3, 0) else "webserver"
        shown = "non-sensitive-only" if numbers >= (2, 4) else "True"
        env = {f"AIRFLOW__{section}__EXPOSE_CONFIG": shown for section in ("API", "WEBSERVER")}
        with Airflow(version, name="recorded", users=USERS, components=[web], env=env, start_timeout=400) as airflow:
            recorder = Recorder(airflow, numbers)
            for name in second:
                recorder.play(name)
            if not only:
                found["roles"] |= measure(airflow.url, airflow.users, ["config"])
        whole = whole and recorder.whole
        found["flows"] |= recorder.recordings
    known = before["flows"] | found["flows"]
    found["flows"] = {name: known[name] for name in TABLE if name in known}
    text = written(found)
    if only:
        print(text)
    elif whole:
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{version}.json").write_text(text)
    return whole


class Recorder:
    """Runs flows against one deployment and records requests and replies."""

    def __init__(self, airflow: Airflow, numbers: tuple[int, ...]) -> None:
        self.recordings: dict[str, Any] = {}
        self.whole = True
        self._version, self._numbers = airflow.version, numbers
        self._names = {
            airflow.url: BASE_URL,
            airflow.url.removeprefix("http://"): BASE_URL.removeprefix("http://"),
            str(airflow.home): "/opt/airflow",
            socket.gethostname(): "airflow-host",
        }
        login = Settings.parse(host=airflow.url, login="admin", password="admin", extra={"read_timeout": 300})
        with requests.Session() as session:
            driver = SyncDriver(configure(session, login), login, reload=lambda: login)
            headers = driver.run(deployment(login, time.time()).client.authorization())
        self._settings = replace(administrator(airflow.url, headers["Authorization"]), read_timeout=300)

    def play(self, name: str) -> None:
        """Run one flow; the others are run even if it fails."""
        started, heard = round(time.time(), 3), list[tuple[Request, Response]]()
        remote = deployment(self._settings, started)
        with requests.Session() as session:
            driver = SyncDriver(configure(session, self._settings), self._settings, reload=lambda: self._settings)
            driver.run(remote.get_version())

            def forward(request: Request) -> Response:
                response = driver.run(send(request))
                heard.append((request, response))
                return response

            try:
                outcome = drive(TABLE[name].play(remote), forward, clock=RealClock())
            except NotSupported as error:
                outcome = error
            except (Exception, pytest.fail.Exception):  # noqa: BLE001
                traceback.print_exc()
                print(f"^^^ {name}: {[(described(a), b.status, b.body[:300]) for a, b in heard[-3:]]}", flush=True)
                self.whole = False
                return
        if isinstance(outcome, NotSupported) == TABLE[name].possible(self._numbers):
            print(f"^^^ {name}: possible or not? {outcome!r}")
            self.whole = False
        print(f"{self._version} {name}: {len(heard)} requests in {time.time() - started:.1f} s", flush=True)
        operations = [{"request": described(request), "response": kept(response)} for request, response in heard]
        facts = {"started": started, "operations": operations, "outcome": plain(outcome)}
        self.recordings[name] = self._scrubbed(facts, "\n".join(said(reply) for _, reply in heard))

    def _scrubbed(self, facts: Any, said: str) -> Any:
        text = json.dumps(facts, ensure_ascii=False)
        for secret in sorted(set(SECRETS.findall(said)), key=len, reverse=True):
            text = text.replace(secret, without_secret(secret))
        for name, other in self._names.items():
            text = text.replace(name, other)
        # Python's own files, in stack traces.
        text = re.sub(r'[^\s"\'\\(]+/lib/python3', "/usr/lib/python3", text)
        # Paths of the machine in a task's log.
        text = re.sub(r"/tmp/\w+|/root/", "/var/", text)
        return json.loads(text)


def kept(response: Response) -> dict[str, Any]:
    """What of a reply is worth keeping."""
    headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
    facts: dict[str, Any] = {"status": response.status, "headers": headers}
    if response.is_json and response.body:
        return {**facts, "json": shortened(response.json())}
    text = response.body.decode("utf-8", errors="replace")
    if response.content_type == "text/html":
        text = "\n".join(re.findall(r'<title.*?</title>|<input[^>]*name="csrf_token"[^>]*>', text, re.DOTALL))
    return {**facts, "text": text}


def shortened(body: Any) -> Any:
    """JSON without what nobody reads. Of a configuration, one option is enough."""
    if isinstance(body, list):
        return [shortened(item) for item in body]
    if not isinstance(body, dict):
        return body
    if "sections" in body:
        api = next(section for section in body["sections"] if section["name"] == "api")
        options = [option for option in api["options"] if option["key"] == "maximum_page_limit"]
        return {"sections": [{**api, "options": options}]}
    return {name: shortened(value) for name, value in body.items() if name not in UNREAD}


def written(found: dict[str, Any]) -> str:
    """The text of a file: small, and still with a line for each thing that may change on its own."""
    lines = []
    for name, facts in found["flows"].items():
        operations = "".join(f"\n   {_compact(each)}," for each in facts["operations"]).removesuffix(",")
        outcome = _compact(facts["outcome"])
        lines.append(
            f'  "{name}": {{"started": {facts["started"]}, "operations": [{operations}], "outcome": {outcome}}}'
        )
    flows = ",\n".join(lines)
    roles = ",\n".join(f'  "{name}": {json.dumps(statuses)}' for name, statuses in found["roles"].items())
    parts = [
        f'"version": "{found["version"]}"',
        f'"flows": {{\n{flows}\n }}',
        f'"roles": {{\n{roles}\n }}',
    ]
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def said(response: Response) -> str:
    """All of a reply in which a secret may be found."""
    return f"{response.headers.get('set-cookie', '')}\n{response.body.decode('utf-8', errors='replace')}"


def without_secret(secret: str) -> str:
    """What stands for a secret; of a token, its dates remain readable."""
    parts = secret.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
        dates = json.dumps({name: claims[name] for name in ("iat", "exp")})
    except (IndexError, KeyError, ValueError):
        return "scrubbed"
    return f"scrubbed.{base64.urlsafe_b64encode(dates.encode()).decode().rstrip('=')}.scrubbed"


if __name__ == "__main__":
    sys.exit(main())
