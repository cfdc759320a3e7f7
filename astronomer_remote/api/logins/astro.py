"""
An Astro API token, and what the Astro API shows of a Deployment.

Only version 1 of that API is used: https://www.astronomer.io/docs/astro/api
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from astronomer_remote.api.logins.token import AnyToken
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.auth import Credentials, Send
from astronomer_remote.api.protocol.errors import (
    LONGEST_DETAIL,
    AccessDenied,
    AuthenticationFailed,
    InvalidSettings,
    NotFound,
    RemoteError,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import LARGE_JSON, Flow, Request, Response, compute, quoted, request_to
from astronomer_remote.api.protocol.models import utc_text, utc_text_of
from astronomer_remote.api.protocol.settings import without_pages

API = "https://api.astronomer.io/v1"

TEST_API = "ASTRONOMER_REMOTE_ASTRO_API"
"""Environment variable with the URL of a stand-in for the Astro API on this machine, for tests. Only with it, a
Deployment may be on this machine, too. Nothing in a connection has this effect."""

LOOPBACK_URL = re.compile(r"http://127\.0\.0\.1:\d{1,5}", re.ASCII)

DEPLOYMENT_URL = re.compile(
    r"(?:https://)?(?P<host>(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+astronomer\.run)"
    r"(?P<path>(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)/?",
    re.ASCII,
)
"""URLs of Deployments: below Astro's own domain, without a port, a user name, a query and dot segments."""

ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""Ids of Organizations and Deployments."""

DEPLOYMENT_ID = re.compile(r"c[a-z0-9]{24}", re.ASCII)
"""What is taken for the id of a Deployment rather than its name."""

LARGEST_REPLY = 1024 * 1024
"""Bytes of a reply: a Deployment is shown with all its environment variables and queues."""

MOST_OF_A_NAME = 10
"""How many Deployments of a name are read; names are unique in a Workspace only."""

LONGEST_TEXT = 300
"""Characters of a name or a reason."""

HEALTHY, HIBERNATING = "HEALTHY", "HIBERNATING"

STATUSES: Mapping[str, str] = {
    "CREATING": "is being created",
    "DEPLOYING": "is being deployed",
    HEALTHY: "is healthy",
    HIBERNATING: "is hibernating",
    "UNHEALTHY": "is unhealthy",
}


REFUSALS: Mapping[int, str] = {
    401: "It has expired or was deleted, or it has no access to this Deployment: Astro answers all of these alike.",
    403: "It has no access to this Deployment, or the Organization has an IP access list without the address that the "
    "request came from: of a Deployment on Astro, one of the external IPs in its details.",
}
"""What a refusal by a Deployment may mean, by its HTTP status."""


class AstroToken(AnyToken):
    """An Astro API token. With the Organization's id, the Deployment may be given by its name or id."""

    forms = ("Bearer {}".format,)
    fields = ("astro_organization_id", "astro_deployment")
    place = "astro_deployment"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._control_plane = control_plane(credentials)
        self.urls = (self._control_plane.lookup_url,) if self._control_plane else ()

    def advice(self, status: int) -> str:
        return REFUSALS.get(status, REFUSALS[401])

    def locate(self, send: Send) -> Flow[str]:
        # Settings without a host have the fields.
        assert self._control_plane  # noqa: S101
        deployment = yield from self._control_plane.deployment(send)
        return deployment.base_url


def control_plane(credentials: Credentials) -> ControlPlane | None:
    """
    The Astro API for the Deployment of a connection; ``None`` if the connection does not name one.

    :raises InvalidSettings: if one of the two fields is missing or wrong.
    """
    organization, deployment = (credentials.fields.get(name) for name in AstroToken.fields)
    if not organization and not deployment:
        return None
    if not organization or not deployment:
        raise InvalidSettings(
            "The connection's astro_organization_id and astro_deployment belong together; only one of them is set."
        )
    if not ID.fullmatch(organization):
        raise InvalidSettings(
            "The connection's astro_organization_id must be the Organization's id, which consists of letters and "
            "digits. The Astro UI shows it under Organization Settings."
        )
    return ControlPlane(api_url(), organization, deployment, credentials.password or "")


def api_url() -> str:
    """
    URL of the Astro API.

    :raises InvalidSettings: if :data:`TEST_API` is set to anything but a URL of this machine.
    """
    given = os.environ.get(TEST_API, "")
    if given and not LOOPBACK_URL.fullmatch(given):
        raise InvalidSettings(f"The environment's {TEST_API} is for tests: it must be like http://127.0.0.1:8080.")
    return given or API


@dataclass(frozen=True)
class AstroDeployment:
    """
    What the Astro API shows of a Deployment.

    :param deployment_id: its id.
    :param name: its name.
    :param status: one of :data:`STATUSES`, or another one.
    :param reason: why it has this status, in Astro's words.
    :param airflow: version of its Airflow.
    :param url: URL of its Airflow API, as it was sent.
    :param hibernates_until: when it is to wake up, if that is known.
    :param kept_awake: whether an override of its schedule is to keep it awake.
    """

    deployment_id: str
    name: str
    status: str
    reason: str = ""
    airflow: str = ""
    url: str = ""
    hibernates_until: str | None = None
    kept_awake: bool = False

    @property
    def hibernates(self) -> bool:
        return self.status == HIBERNATING

    @property
    def description(self) -> str:
        """Its name and status, as the beginning of a sentence."""
        status = STATUSES.get(self.status, f"has the status {self.status}")
        until = f" until {self.hibernates_until}" if self.hibernates and self.hibernates_until else ""
        reason = f" ({self.reason})" if self.reason and self.status != HEALTHY else ""
        return f"The Deployment {self.name!r} {status}{until}{reason}"

    @property
    def base_url(self) -> str:
        """
        URL of its Airflow.

        :raises InvalidSettings: if it is not below Astro's domain: the token is not sent there.
        """
        found = DEPLOYMENT_URL.fullmatch(self.url)
        if found:
            return f"https://{found['host']}{without_pages(found['path'])}"
        parts = self.url.split("/api/")
        if api_url() != API and LOOPBACK_URL.fullmatch(parts[0]):
            return parts[0]
        raise InvalidSettings(
            f"The Astro API returned the URL {untrusted.readable(self.url, 200)!r} for {self.name!r}, which is no "
            "https URL below astronomer.run, so the token is not sent there. If it is a domain of your own in front of "
            "Astro, set the connection's host to it."
        )

    @classmethod
    def read(cls, body: Mapping[str, Any], redact: Callable[[str], str]) -> AstroDeployment:
        """
        :param redact: hides secrets, since a reply may repeat the request.
        :raises ValueError: if it is not what the Astro API sends.
        """
        found = cls(
            deployment_id=str(body.get("id")),
            name=_text(body, "name", redact),
            status=_text(body, "status", redact),
            reason=_text(body, "statusReason", redact),
            airflow=_text(body, "airflowVersion", redact),
            url=redact(str(body.get("webServerAirflowApiUrl") or body.get("apiUrl") or "")[:1000]),
        )
        if not ID.fullmatch(found.deployment_id) or not found.name or not found.status:
            raise ValueError("no id, name or status")
        hibernation = _mapping(_mapping(body, "scalingStatus"), "hibernationStatus")
        spec = _mapping(_mapping(body, "scalingSpec"), "hibernationSpec")
        override = _mapping(spec, "override")
        ends = _date(override.get("overrideUntil"))
        if override.get("isActive") is not True:
            override = {}
        wakes = _date(hibernation.get("nextEventAt")) if hibernation.get("nextEventType") == "WAKE" else None
        return replace(
            found,
            hibernates_until=ends if override.get("isHibernating") is True and ends else wakes,
            kept_awake=override.get("isHibernating") is False,
        )


@dataclass(frozen=True)
class ControlPlane:
    """
    The Astro API, for one Deployment.

    :param api: its URL.
    :param organization: id of the Organization.
    :param deployment_name: name or id of the Deployment.
    :param token: an API token.
    """

    api: str
    organization: str
    deployment_name: str
    token: str = field(repr=False)

    @property
    def lookup_url(self) -> str:
        """Where the Deployment is looked up."""
        if DEPLOYMENT_ID.fullmatch(self.deployment_name):
            return f"{self._deployments}/{self.deployment_name}"
        return f"{self._deployments}?names={quoted(self.deployment_name)}&limit={MOST_OF_A_NAME}"

    def deployment(self, send: Send) -> Flow[AstroDeployment]:
        """
        Look the Deployment up.

        :raises RemoteError: what fits the reply.
        """
        reply = yield from send(self._request("GET", self.lookup_url))
        if reply.status != 200:
            raise self._refusal(reply, "deployment.get")
        if len(reply.body) > LARGE_JSON:
            reply = yield from compute(reply.parse)
        try:
            body = reply.json()
            found = body["deployments"] if "?" in self.lookup_url else [body]
            deployments = [AstroDeployment.read(each, reply.redact) for each in found]
        except (AttributeError, LookupError, TypeError, ValueError):
            raise UnexpectedReply("The Astro API's reply is not a Deployment.", **_facts(reply, "GET")) from None
        # A filter that is not applied must not lead to another Deployment.
        given = (self.deployment_name, untrusted.sentence(self.deployment_name, LONGEST_TEXT))
        return self._only([each for each in deployments if each.deployment_id in given or each.name in given])

    def wake(self, deployment: AstroDeployment, until: float, send: Send) -> Flow[None]:
        """
        Wake the Deployment, which may be awake already.

        :param until: until when it stays awake whatever its schedule says, in seconds since the epoch.
        :raises RemoteError: what fits the reply.
        """
        url = f"{self._deployments}/{deployment.deployment_id}/hibernation-override"
        body = {"isHibernating": False, "overrideUntil": utc_text_of(float(int(until)))}
        reply = yield from send(self._request("POST", url, body))
        if reply.status != 200:
            raise self._refusal(reply, "deployment.hibernation.update")

    def _only(self, deployments: list[AstroDeployment]) -> AstroDeployment:
        if not deployments:
            raise self._missing()
        if len(deployments) > 1:
            ids = ", ".join(each.deployment_id for each in deployments)
            raise InvalidSettings(
                f"There are several Deployments {self.deployment_name!r}. Set the connection's astro_deployment to the "
                f"id of one: {ids}."
            )
        return deployments[0]

    @property
    def _deployments(self) -> str:
        return f"{self.api}/organizations/{self.organization}/deployments"

    def _request(self, method: str, url: str, body: Any = None) -> Request:
        request = request_to(url, method=method, body=body, headers={"Authorization": f"Bearer {self.token}"})
        return replace(request, largest_reply=LARGEST_REPLY)

    def _missing(self) -> NotFound:
        return NotFound(
            f"The Deployment {self.deployment_name!r} does not exist in the Organization {self.organization}, or the "
            "token has no access to it."
        )

    def _refusal(self, reply: Response, permission: str) -> RemoteError:
        facts = _facts(reply, "POST" if permission.endswith("update") else "GET")
        if reply.status == 401:
            return AuthenticationFailed(
                "The Astro API did not accept the token: it has expired or was deleted, or it has no access to the "
                f"Organization {self.organization}. Astro answers all of these alike.",
                **facts,
            )
        if reply.status == 403:
            return AccessDenied(
                f"The Astro API refused it. The token needs the permission {permission}. Or the Organization has an IP "
                "access list without the address that the request came from: of a Deployment on Astro, one of the "
                "external IPs in its details.",
                **facts,
            )
        if reply.status == 404:
            return self._missing()
        return UnexpectedReply(f"The Astro API answered with HTTP {reply.status}.", **facts)


def _facts(reply: Response, method: str) -> dict[str, Any]:
    """What an error contains of a reply. Astro's errors have a message."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    message = body.get("message") if isinstance(body, dict) else None
    said = untrusted.sentence(reply.redact(message), LONGEST_DETAIL) if isinstance(message, str) and message else None
    return {"status": reply.status, "method": method, "path": urlsplit(API).path, "detail": said}


def _text(body: Mapping[str, Any], name: str, redact: Callable[[str], str]) -> str:
    value = body.get(name)
    return untrusted.sentence(redact(value), LONGEST_TEXT) if isinstance(value, str) else ""


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _date(value: Any) -> str | None:
    try:
        return utc_text(value, "date") if isinstance(value, str) else None
    except InvalidSettings:
        return None
