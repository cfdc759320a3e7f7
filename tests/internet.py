"""Hosts of the Internet on this machine: a proxy that has a certificate for them, and forwards what is sent to them."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler
from typing import Any
from urllib.parse import urlsplit

NOT_FORWARDED = frozenset({"connection", "content-length", "proxy-connection", "transfer-encoding"})
SECONDS_TO_REPLY = 120.0


class Internet:
    """
    What a process needs to reach the hosts.

    :param url: of the proxy.
    :param certificate: file of the certificate to trust.
    """

    def __init__(self, url: str, certificate: Path) -> None:
        self.url = url
        self.certificate = certificate
        self.called: list[str] = []
        """Host and path of each request."""

    @property
    def env(self) -> dict[str, str]:
        """Environment variables that lead boto3, google-auth and this package to it."""
        file = str(self.certificate)
        return {
            "HTTPS_PROXY": self.url,
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": file,
            "AWS_CA_BUNDLE": file,
        }


@contextmanager
def internet(hosts: Mapping[str, str], folder: Path) -> Iterator[Internet]:
    """
    Stand for some hosts until it ends; there are no others.

    :param hosts: names of hosts, and the URL on this machine that answers for each.
    :param folder: for its key and certificate.
    """
    key, certificate = folder / "internet.key", folder / "internet.pem"
    names = ",".join(f"DNS:{name}" for name in hosts)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    for extension in (f"subjectAltName={names}", "keyUsage=critical,digitalSignature,keyCertSign"):
        command += ["-addext", extension]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        host = ""

        def do_CONNECT(self) -> None:
            self.host = self.path.rpartition(":")[0]
            if self.host not in hosts:
                self.send_error(502, "no such host")
                return
            self.send_response_only(200)
            self.end_headers()
            # Older versions of Python open a tunnel with HTTP/1.0.
            self.close_connection = False
            self.request = tls.wrap_socket(self.connection, server_side=True)
            # From here on, files for reading and writing are those of the encrypted connection.
            StreamRequestHandler.setup(self)

        def forward(self) -> None:
            found.called.append(f"{self.host}{self.path}")
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            connection = HTTPConnection(urlsplit(hosts[self.host]).netloc, timeout=SECONDS_TO_REPLY)
            try:
                fields = {name: value for name, value in self.headers.items() if name.lower() not in NOT_FORWARDED}
                connection.request(self.command, self.path, body or None, fields)
                reply = connection.getresponse()
                content = reply.read()
            finally:
                connection.close()
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in NOT_FORWARDED:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = forward

        def finish(self) -> None:
            super().finish()
            # The server knows the plain one only.
            self.request.close()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Internet(f"http://127.0.0.1:{server.server_port}", certificate)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
