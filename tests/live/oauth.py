"""A real authorization server, and a gateway that lets only its tokens through to a real Airflow."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qsl

import requests
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator

from astronomer_remote.testing import server
from astronomer_remote.testing.server import RecordedRequest
from dev.deployments import Airflow
from dev.faults import Reply
from dev.proxy import Proxy

CLIENT = "airflow-client"
FIRST_SECRET, SECOND_SECRET = "first secret: of the/client", "second secret: of the/client"
PAGE = b"<html><head><title>Sign in</title></head></html>"


class TokenRequest(OAuth2Request):
    """A request for a token, as the web server below hands it on."""

    def __init__(self, uri: str, form: dict[str, str], headers: Mapping[str, str]) -> None:
        super().__init__("POST", uri, headers=dict(headers))
        self.payload = BasicOAuth2Payload(form)
        self._form = form

    @property
    def form(self) -> dict[str, str]:
        return self._form


class Grant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class Client(ClientMixin):
    """The one client of the server."""

    def __init__(self) -> None:
        self.secret = FIRST_SECRET

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(self.secret, client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in Grant.TOKEN_ENDPOINT_AUTH_METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: str) -> str:
        return scope or ""


class Issuer(AuthorizationServer):
    """
    Issues tokens, and knows until when each is valid.

    :param lifetime: seconds that a token is valid.
    """

    def __init__(self, lifetime: int) -> None:
        super().__init__()
        self.client = Client()
        self.valid: dict[str, float] = {}
        self.refused = 0
        self.url = ""
        self.register_grant(Grant)
        generator = BearerTokenGenerator(
            lambda **_: secrets.token_urlsafe(32), expires_generator=lambda client, grant_type: lifetime
        )
        self.register_token_generator("default", generator)

    def query_client(self, client_id: str) -> Client | None:
        return self.client if client_id == CLIENT else None

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        self.valid[token["access_token"]] = time.time() + token["expires_in"]

    def create_oauth2_request(self, request: TokenRequest) -> TokenRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> tuple[int, Any]:
        self.refused += status >= 400
        return status, body

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        pass

    def accepts(self, header: str) -> bool:
        """Whether an `Authorization` header has a token that is valid now."""
        kind, _, token = header.partition(" ")
        return kind == "Bearer" and self.valid.get(token, 0) > time.time()


@contextmanager
def issuer(lifetime: int) -> Iterator[Issuer]:
    """An authorization server on a free port of this machine."""
    found = Issuer(lifetime)

    def answer(request: RecordedRequest) -> server.Reply:
        # The names of header fields as a browser writes them, which the library expects.
        headers = {name.title(): value for name, value in request.headers.items()}
        form = dict(parse_qsl(request.body.decode()))
        return server.Reply(*found.create_token_response(TokenRequest(found.url, form, headers)))

    with closing(server.Server(answer, keep_alive=False)) as running:
        found.url = f"{running.url}/oauth2/token"
        yield found


class Gateway(Proxy):
    """Shows its own login page unless a request has a token of the issuer, and has a login of its own at Airflow."""

    def __init__(self, remote: Airflow, tokens: Issuer) -> None:
        super().__init__(remote.url)
        self._tokens = tokens
        self.turned_away = 0
        self.shown: set[str] = set()
        login, password = remote.users["admin"]
        if remote.generation == "v2":
            given = {"username": login, "password": password}
            with requests.Session() as session:
                session.trust_env = False
                granted = session.post(f"{remote.url}/auth/token", json=given, timeout=120).json()
            self._own = f"Bearer {granted['access_token']}"
        else:
            self._own = f"Basic {base64.b64encode(f'{login}:{password}'.encode()).decode()}"

    async def _send(self, method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> Reply:
        shown = next((value for name, value in fields if name.lower() == "authorization"), "")
        if not self._tokens.accepts(shown):
            self.turned_away += 1
            return Reply(401, [("Content-Type", "text/html")], PAGE)
        self.shown.add(shown)
        others = [each for each in fields if each[0].lower() not in ("authorization", "cookie")]
        return await super()._send(method, target, [*others, ("Authorization", self._own)], body)
