"""
A stand-in for the part of the Astro API that is used, with the fields of its published description.

https://www.astronomer.io/docs/astro/api has the description, of which version 1 is used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from astronomer_remote.testing.server import RecordedRequest, Reply, Server

ORGANIZATION = "clypw7uah05jb01nwtpojz0j2"
DEPLOYMENT_ID = "clkvh3b46003m01kbalgwwdcy"
NAME = "etl prod"
TOKEN = "astro-api-t0ken-of-a-test"
URL = f"https://{DEPLOYMENT_ID}.cy.astronomer.run/dlgwwdcy"

Answer = tuple[int, Any]


class FakeAstro:
    """
    One Organization with one Deployment.

    :param api_url: the Deployment's `webServerAirflowApiUrl`.
    """

    def __init__(self, api_url: str = f"{URL}/api/v2") -> None:
        self.deployment: dict[str, Any] = {
            "airflowVersion": "3.3.2",
            "apiUrl": api_url,
            "astroRuntimeVersion": "3.3-4",
            "createdAt": "2026-01-02T03:04:05Z",
            "id": DEPLOYMENT_ID,
            "isDevelopmentMode": True,
            "name": NAME,
            "namespace": "stellar-gravity-1234",
            "organizationId": ORGANIZATION,
            "scalingSpec": {"hibernationSpec": {"schedules": []}},
            "status": "HEALTHY",
            "type": "STANDARD",
            "uiUrl": f"{URL}?orgId=org_bvqayGttQauxdxB2",
            "webServerAirflowApiUrl": api_url,
            "workspaceId": "clm8pnw6q000008jv3nqo0jkc",
        }
        self.received: list[tuple[str, str]] = []
        self.failing: Answer | None = None

    def hibernate(self, until: str = "2026-11-28T06:00:00Z") -> None:
        """Hibernate by the schedule."""
        status = {"isHibernating": True, "nextEventAt": until, "nextEventType": "WAKE", "reason": "schedule"}
        self.deployment.update(status="HIBERNATING", scalingStatus={"hibernationStatus": status})
        self.override(None)

    def override(self, override: dict[str, Any] | None) -> None:
        spec = self.deployment["scalingSpec"]["hibernationSpec"]
        spec.pop("override", None)
        if override:
            spec["override"] = override

    def is_ready(self) -> None:
        """Be healthy again."""
        self.deployment.update(status="HEALTHY", scalingStatus={"hibernationStatus": {"isHibernating": False}})

    @property
    def woken(self) -> int:
        """How often it was woken."""
        return sum(method == "POST" for method, _ in self.received)

    def answer(self, method: str, url: str, token: str, body: Any) -> Answer:
        """Answer one request. :param url: from its path on."""
        self.received.append((method, url))
        if self.failing:
            return self.failing
        if token != f"Bearer {TOKEN}":
            return error(401, "Invalid token")
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        own = f"/v1/organizations/{ORGANIZATION}/deployments"
        if method == "GET" and parts.path == own:
            found = [self.deployment] if query["names"] == [self.deployment["name"]] else []
            return 200, {"deployments": found, "limit": int(query["limit"][0]), "offset": 0, "totalCount": len(found)}
        if method == "GET" and parts.path == f"{own}/{DEPLOYMENT_ID}":
            return 200, self.deployment
        if method == "POST" and parts.path == f"{own}/{DEPLOYMENT_ID}/hibernation-override":
            assert set(body) == {"isHibernating", "overrideUntil"}
            self.override({**body, "isActive": True})
            return 200, body
        return error(404, "Not found")


def error(status: int, message: str) -> Answer:
    """An error as the Astro API describes it."""
    return status, {"message": message, "requestId": "a81a8cbf-0d1f-4b0c-9f6e-0d2f5d9d4c11", "statusCode": status}


@contextmanager
def served(astro: FakeAstro) -> Iterator[str]:
    """Serve it on a free port of this machine. :return: its URL."""
    lock = threading.Lock()

    def answer(request: RecordedRequest) -> Reply:
        # Two requests that arrive at the same time are answered at the same time.
        time.sleep(0.2)
        query = f"?{urlencode(request.query, doseq=True)}" if request.query else ""
        token = request.headers.get("authorization", "")
        with lock:
            body = request.json() if request.body else None
            return Reply(*astro.answer(request.method, f"/v1{request.path}{query}", token, body))

    with closing(Server(answer, keep_alive=False)) as server:
        yield server.url
