"""Stand-ins on this machine for the services of AWS and Google that give out tokens."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from astronomer_remote.testing.server import RecordedRequest, Reply, Server

HOST = "0123.c2.eu-west-1.airflow.amazonaws.com"
AIRFLOW_URI = "https://0123-dot-europe-west1.composer.googleusercontent.com"
ENVIRONMENT = "projects/my-project/locations/europe-west1/environments/prod"
IDENTITY = "assumed-role/airflow-client/worker"
ROLE = "arn:aws:iam::123456789012:role/airflow-client"
ROLE_REPLY = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>ARO:x</AssumedRoleId><Arn>{ROLE}</Arn></AssumedRoleUser><Credentials>
<AccessKeyId>ASIAOFTHEROLE0000000</AccessKeyId><SecretAccessKey>s3cret-of-the-role</SecretAccessKey>
<SessionToken>session-t0ken-of-the-role</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""


class Cloud:
    """
    Answers like MWAA, STS, Google's token endpoint and the Composer API.

    :param url: where it is.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = HOST
        self.airflow_uri = AIRFLOW_URI
        self.received: list[tuple[str, str, str]] = []
        """Path, ``Authorization`` and body of each request."""
        self.issued: list[str] = []
        self._numbers = count()
        self.failure: tuple[int, dict[str, Any]] | None = None
        self.lifetime = 3600

    @property
    def token_uri(self) -> str:
        return f"{self.url}/token"

    def answer(self, path: str, authorization: str, body: str) -> tuple[int, str, str]:
        self.received.append((path, authorization, body))
        if self.failure:
            status, failed = self.failure
            return status, json.dumps(failed), str(failed.get("code", ""))
        if path == f"/v1/{ENVIRONMENT}":
            if authorization.removeprefix("Bearer ") not in self.issued:
                return 401, json.dumps({"error": {"message": "Request had invalid authentication credentials."}}), ""
            return 200, json.dumps({"state": "RUNNING", "config": {"airflowUri": self.airflow_uri}}), ""
        if "AssumeRole" in body:
            return 200, ROLE_REPLY, ""
        token = f"t0ken-number-{next(self._numbers)}-of-the-cloud"
        self.issued.append(token)
        if path.startswith("/webtoken/"):
            found = {"WebToken": token, "WebServerHostname": self.host, "IamIdentity": IDENTITY}
            return 200, json.dumps(found), ""
        return 200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}), ""


@contextmanager
def cloud() -> Iterator[Cloud]:
    def answer(request: RecordedRequest) -> Reply:
        status, text, code = found.answer(request.path, request.headers.get("authorization", ""), request.body.decode())
        kind = "application/json" if text.startswith("{") else "text/xml"
        return Reply(status, text, kind, {"x-amzn-ErrorType": code} if code else {})

    with closing(Server(answer, keep_alive=False)) as server:
        found = Cloud(server.url)
        yield found


def write_key(path: Path, token_uri: str) -> Path:
    """The key of a service account. :param token_uri: what issues tokens for it."""
    command = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    key = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    account = {
        "type": "service_account",
        "client_email": "airflow@my-project.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": key,
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(account))
    return path
