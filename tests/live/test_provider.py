"""What the local Airflow knows of the provider and its connections: what it should, and no secret."""

from __future__ import annotations

import base64
import json
import re

import pytest

from tests.live.campaign import USERS, WRONG, Campaign

# Bearer tokens of Airflow 3 are JWTs; Airflow 2's session cookies are signed in a similar form.
TOKEN = re.compile(rb"eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}|session=[\w.-]{20,}")


def secrets() -> list[bytes]:
    """Passwords that the local connections hold, and how HTTP writes them."""
    found = []
    for login, password in [*USERS.values(), ("admin", WRONG)]:
        found += [password.encode(), base64.b64encode(f"{login}:{password}".encode())]
    return found


@pytest.mark.once_per_local
def test_the_provider_is_listed(campaign: Campaign) -> None:
    listed = json.loads(campaign.local.deployment.run("providers", "list", "--output", "json").stdout)
    assert "airflow-provider-astronomer-remote" in [each["package_name"] for each in listed]


def test_triggers_hold_no_secret(campaign: Campaign) -> None:
    assert campaign.triggers
    for path, kwargs in campaign.triggers:
        assert path == "astronomer_remote.triggers.wait.RemoteWaitTrigger"
        assert kwargs["astronomer_conn_id"] == campaign.connection
        assert not [secret for secret in secrets() if secret in repr(kwargs).encode()]


def test_neither_logs_nor_the_database_hold_a_secret(campaign: Campaign) -> None:
    """Airflow keeps connections and triggers encrypted, so that even XComs and rendered fields show what is not."""
    contents = campaign.local.contents()
    assert len(contents) > len(campaign.triggers)
    assert campaign.connection.encode() in contents["the database"]
    for name, content in contents.items():
        assert not [secret for secret in secrets() if secret in content], name
        assert not TOKEN.search(content), name
