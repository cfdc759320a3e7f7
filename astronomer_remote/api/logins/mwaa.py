"""
An environment of Amazon MWAA, for the AWS credentials that boto3 finds.

boto3 gets a web login token, which is valid for 60 seconds, and the host of the web server. The web server
returns for it what authenticates requests:

- Airflow 2: ``/aws_mwaa/login`` sets the cookie ``session``, which is valid for 12 hours, or shorter if it says so.
- Airflow 3: ``/pluginsv2/aws_mwaa/login`` sets the cookie ``_token``, a JSON Web Token that is sent as ``Bearer``.

Sources: https://docs.aws.amazon.com/mwaa/latest/userguide/access-mwaa-apache-airflow-rest-api.html and, for Airflow 3,
``_get_session_conn`` of Airflow's ``airflow.providers.amazon.aws.hooks.mwaa``.

boto3's ``invoke_rest_api`` is not used: it ends requests after 10 seconds and replies at 6 MB, allows 10 requests per
second, and hides status and headers of the replies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from astronomer_remote.api.logins.libraries import SECONDS_TO_CONNECT, SECONDS_TO_REPLY, require, unlogged
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.auth import (
    Cookie,
    Credentials,
    Send,
    Token,
    TokenLogin,
    expiry_of,
    is_token_text,
    read_cookie,
)
from astronomer_remote.api.protocol.errors import (
    LONGEST_DETAIL,
    AuthenticationFailed,
    InvalidSettings,
    NotFound,
    RemoteError,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Flow, Request, Response, blocking
from astronomer_remote.api.protocol.models import Generation, Version

if TYPE_CHECKING:
    from boto3.session import Session

NAME = re.compile(r"[a-zA-Z][0-9a-zA-Z_-]{0,79}", re.ASCII)
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", re.ASCII)
ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)

HOST = (
    r"([a-z0-9-]+\.)+(REGION\.airflow\.amazonaws\.com(\.cn)?|airflow\.REGION\.(on\.aws|on\.amazonwebservices\.com\.cn))"
)
"""Hosts of web servers. Environments that were created since August 2025 are below ``on.aws``."""

SCHEME = "https://"

LONGEST_ACCOUNT = 200
"""Characters of the name of an IAM identity that are shown."""

LONGEST_HOST = 253

SESSION_SECONDS = 12 * 3600.0
"""How long a session of Airflow 2 is valid at most."""

LOGINS: Mapping[Generation, tuple[str, str]] = {
    Generation.V2: ("/pluginsv2/aws_mwaa/login", "_token"),
    Generation.V1: ("/aws_mwaa/login", "session"),
}
"""Where each generation takes the web login token, and the cookie that it sets."""

LOGGERS = ("botocore.auth", "botocore.endpoint", "botocore.parsers")


class Mwaa(TokenLogin):
    """
    The environment's name in ``mwaa_environment``.

    ``login`` and ``password`` may be an access key; else boto3 finds the credentials, by a profile if there is one.
    With ``aws_role_arn``, that role is assumed.
    """

    needs = ("mwaa_environment",)
    fields = ("mwaa_environment", "aws_region", "aws_profile", "aws_role_arn")
    must_verify = True
    place = "mwaa_environment"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        fields = credentials.fields
        for name, pattern, example in (
            ("mwaa_environment", NAME, "the name of an environment, such as MyEnvironment"),
            ("aws_region", REGION, "a region such as eu-west-1"),
            ("aws_role_arn", ROLE, "the ARN of a role, such as arn:aws:iam::123456789012:role/airflow"),
        ):
            if not pattern.fullmatch(fields.get(name, "")) and name in fields:
                raise InvalidSettings(f"The connection's {name}={fields[name]!r} must be {example}.")
        if bool(credentials.login) != bool(credentials.password):
            raise InvalidSettings(
                "The connection's login (access key id) and password (secret access key) belong together; only one "
                "of them is set. Without both, boto3 finds the credentials."
            )
        if credentials.login and "aws_profile" in fields:
            raise InvalidSettings("The connection has an access key and an aws_profile. Keep one of them.")
        if credentials.base_url and not credentials.base_url.startswith(SCHEME):
            raise InvalidSettings(f"With auth='mwaa', the connection's host must begin with {SCHEME}.")
        require("boto3", "aws")
        self._environment = fields["mwaa_environment"]
        self._logins = list(LOGINS.values())
        self._web_token = ""
        self._cookie = ""
        self._role_secrets: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"the session of {self.account or 'this IAM identity'} in the environment {self._environment!r}"

    def advice(self, status: int) -> str:
        return "Check the connection's host, and which Airflow role the IAM identity has."

    def locate(self, send: Send) -> Flow[str]:
        host, _, region = yield from blocking(self._web_login)
        if not _is_of_mwaa(host, re.escape(region)):
            # It may be a domain of its own, or the reply is not from AWS.
            raise InvalidSettings(
                f"AWS names {host!r} as the host of the environment {self._environment!r}, which is none of Amazon "
                f"MWAA in {region}. If it is a custom domain, set the connection's host to it."
            )
        return f"https://{host}"

    def remote_is(self, generation: Generation, version: Version | None) -> None:
        self._logins = [LOGINS[generation]] if generation in LOGINS else self._logins

    def fetch(self, now: float, send: Send) -> Flow[Token]:
        replies: list[Response] = []
        for path, cookie in self._logins:
            # One for each attempt: it may be good for a single use.
            host, self._web_token, region = yield from blocking(self._web_login)
            self._check_host(host, region)
            form = {"token": self._web_token}
            reply = yield from send(Request("POST", path, form=form, authenticated=False, repeatable=True))
            found = read_cookie(reply, cookie)
            # A refusal may set the cookie of a session without a login.
            if found and reply.status < 400:
                self._cookie = cookie
                return Token(found.value, self._expiry(found, now))
            replies.append(reply)
        raise self._refusal(replies)

    def _expiry(self, cookie: Cookie, now: float) -> float | None:
        if self._cookie != "session":
            return expiry_of(cookie.value, now)
        # An environment's configuration may make sessions shorter.
        return now + min(SESSION_SECONDS, cookie.seconds or SESSION_SECONDS)

    def _check_host(self, host: str, region: str) -> None:
        """:raises InvalidSettings: if the connection's host is that of another environment."""
        given = urlsplit(self.credentials.base_url).hostname or ""
        if given != host.lower() and _is_of_mwaa(given, REGION.pattern):
            raise InvalidSettings(
                f"The connection's host is {given!r}, and the web server of the environment {self._environment!r} in "
                f"{region} is {untrusted.readable(host)!r}. Leave the host empty to use that one."
            )

    def headers(self) -> Mapping[str, str]:
        if self._cookie == "session" and self._token:
            return {"Cookie": f"session={self._token.text}"}
        return super().headers()

    @property
    def issued(self) -> tuple[str, ...]:
        return (*super().issued, self._web_token, *self._role_secrets)

    def _refusal(self, replies: list[Response]) -> RemoteError:
        said = ", ".join(f"{path} → {reply.status}" for (path, _), reply in zip(self._logins, replies, strict=True))
        refused = [reply for reply in replies if reply.status in (401, 403)]
        why = f"The web server of the environment {self._environment!r} did not accept the web login token ({said})."
        if refused:
            return AuthenticationFailed(
                f"{why} Check that the connection's host is this environment's, and which Airflow role its IAM "
                "identity has.",
                status=refused[0].status,
            )
        return UnexpectedReply(f"{why} Check the connection's host and mwaa_environment.", status=replies[-1].status)

    def _web_login(self) -> tuple[str, str, str]:
        """The host of the web server, a web login token, and the region."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,
            CredentialRetrievalError,
            HTTPClientError,
            IncompleteReadError,
            MetadataRetrievalError,
        )
        from botocore.parsers import ResponseParserError

        try:
            with unlogged(*LOGGERS):
                client = self._session().client("mwaa", config=_config())
                reply = client.create_web_login_token(Name=self._environment)
        except ClientError as error:
            raise self._aws_refusal(error.response) from None
        except (
            ConnectionError,
            CredentialRetrievalError,
            HTTPClientError,
            IncompleteReadError,
            MetadataRetrievalError,
        ) as error:
            raise UnexpectedReply(f"AWS could not be reached: {_text(error)}") from None
        except (ResponseParserError, KeyError, TypeError, AttributeError):
            # The text of the first is the reply, which may hold the keys of a role.
            raise UnexpectedReply("The reply of AWS cannot be read.") from None
        except BotoCoreError as error:
            raise AuthenticationFailed(
                f"boto3 cannot get a web login token: {_text(error)} Check the connection's access key or aws_profile, "
                "aws_region and aws_role_arn, and what boto3 reads in workers and triggerer."
            ) from None
        host, token = reply.get("WebServerHostname"), reply.get("WebToken")
        if not (isinstance(host, str) and isinstance(token, str) and is_token_text(token)):
            raise UnexpectedReply("The reply of AWS has no web login token.")
        identity = reply.get("IamIdentity")
        self.account = untrusted.sentence(identity, LONGEST_ACCOUNT) if isinstance(identity, str) else None
        return host, token, client.meta.region_name

    def _session(self) -> Session:
        import boto3

        fields = self.credentials.fields
        region = fields.get("aws_region")
        session = boto3.Session(
            aws_access_key_id=self.credentials.login,
            aws_secret_access_key=self.credentials.password,
            profile_name=fields.get("aws_profile"),
            region_name=region,
        )
        role = fields.get("aws_role_arn")
        if role is None:
            return session
        sts = session.client("sts", config=_config())
        granted = sts.assume_role(RoleArn=role, RoleSessionName="astronomer-remote")["Credentials"]
        self._role_secrets = granted["SecretAccessKey"], granted["SessionToken"]
        return boto3.Session(
            aws_access_key_id=granted["AccessKeyId"],
            aws_secret_access_key=granted["SecretAccessKey"],
            aws_session_token=granted["SessionToken"],
            region_name=session.region_name,
        )

    def _aws_refusal(self, response: Mapping[str, Any]) -> RemoteError:
        code, message = (str(response.get("Error", {}).get(name, "")) for name in ("Code", "Message"))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = untrusted.sentence(code, 100)
        # AWS repeats what was signed if the signature is wrong, with the session token.
        detail = None if "Signature" in code else message or None
        facts: dict[str, Any] = {"status": status if isinstance(status, int) else None, "detail": detail}
        why = f"AWS issued no web login token for the environment {self._environment!r} ({code})."
        if code == "ResourceNotFoundException":
            return NotFound(f"{why} Check the connection's mwaa_environment and aws_region, and the account.", **facts)
        if code == "ValidationException":
            return InvalidSettings(f"{why} Check the connection's mwaa_environment.", **facts)
        if (facts["status"] or 500) >= 500 or "Throttl" in code or "TooManyRequests" in code:
            return UnexpectedReply(why, **facts)
        return AuthenticationFailed(
            f"{why} Check the credentials. Their IAM identity needs airflow:CreateWebLoginToken and, with "
            "aws_role_arn, sts:AssumeRole.",
            **facts,
        )


def _is_of_mwaa(host: str, region: str) -> bool:
    """Whether a host is one of web servers. :param region: a pattern."""
    return len(host) <= LONGEST_HOST and bool(re.fullmatch(HOST.replace("REGION", region), host, re.ASCII))


def _config() -> Any:
    from botocore.config import Config

    # The client retries by itself, with the event loop free in between.
    attempts = {"total_max_attempts": 1}
    return Config(connect_timeout=SECONDS_TO_CONNECT, read_timeout=SECONDS_TO_REPLY, retries=attempts)


def _text(error: Exception) -> str:
    """What a library says, in one line that ends with a full stop."""
    text = untrusted.sentence(str(error), LONGEST_DETAIL)
    return text if text.endswith(".") else f"{text}."
