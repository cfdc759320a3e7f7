"""Stand-ins on this machine for the services of AWS and Google that give out tokens."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

IDENTITY = "assumed-role/airflow-client/worker"
ROLE = "arn:aws:iam::123456789012:role/airflow-client"
ROLE_REPLY = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>ARO:x</AssumedRoleId><Arn>{ROLE}</Arn></AssumedRoleUser><Credentials>
<AccessKeyId>ASIAOFTHEROLE0000000</AccessKeyId><SecretAccessKey>s3cret-of-the-role</SecretAccessKey>
<SessionToken>session-t0ken-of-the-role</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""


class Cloud:
    """
    Answers like MWAA, STS and Google's token endpoint.

    :param url: where it is.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = "0123.c2.eu-west-1.airflow.amazonaws.com"
        self.received: list[tuple[str, str, str]] = []
        """Path, ``Authorization`` and body of each request."""
        self.issued: list[str] = []
        self.failure: tuple[int, dict[str, Any]] | None = None
        self.lifetime = 3600

    def answer(self, path: str, authorization: str, body: str) -> tuple[int, str, str]:
        self.received.append((path, authorization, body))
        if self.failure:
            status, failed = self.failure
            return status, json.dumps(failed), str(failed.get("code", ""))
        if "AssumeRole" in body:
            return 200, ROLE_REPLY, ""
        token = f"t0ken-number-{len(self.issued)}-of-the-cloud"
        self.issued.append(token)
        if path.startswith("/webtoken/"):
            found = {"WebToken": token, "WebServerHostname": self.host, "IamIdentity": IDENTITY}
            return 200, json.dumps(found), ""
        return 200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}), ""


@contextmanager
def cloud() -> Iterator[Cloud]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            status, text, code = found.answer(self.path, self.headers["Authorization"] or "", body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/xml")
            if code:
                self.send_header("x-amzn-ErrorType", code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Cloud(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def write_key(path: Path, found: Cloud) -> Path:
    """The key of a service account, whose tokens the stand-in issues."""
    command = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    key = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    account = {
        "type": "service_account",
        "client_email": "airflow@my-project.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": key,
        "token_uri": f"{found.url}/token",
    }
    path.write_text(json.dumps(account))
    return path
