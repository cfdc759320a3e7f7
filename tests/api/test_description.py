"""The text behind a connection's Test button."""

from __future__ import annotations

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.connection_test import Checkup, ConnectionTest
from astronomer_remote.api.protocol.errors import RemoteUnavailable
from astronomer_remote.api.protocol.settings import Settings
from tests.api.script import EXPERIMENTAL, OPEN, URL, V2, ScriptedRemote, Turn, answer, ok

FORBIDDEN = answer(403, {"detail": "Forbidden"})
HEALTH = Turn(
    "GET /api/v2/monitor/health", ok({"scheduler": {"status": "unhealthy"}, "dag_processor": {"status": None}})
)


def described(settings: Settings, **statuses: int) -> str:
    """What is said of an Airflow 3 that answers the questions about our rights with these statuses."""
    remote = ScriptedRemote(settings, V2, retry=RetryPolicy(attempts=1))
    replies = [answer(statuses[name], {"detail": "said"}) for name in ("dags", "trigger", "pools", "delete")]

    def reply(request: object) -> object:
        path = getattr(request, "path", "")
        return HEALTH.reply if path.endswith("/health") else replies.pop(0)

    return remote.drive(remote.deployment.describe(), reply, lambda: settings)  # type: ignore[arg-type]


def test_all_that_is_found_out_is_said() -> None:
    listing = ok({"dags": [], "pools": [], "total_entries": 0})
    remote = ScriptedRemote(OPEN, V2)
    requested: list[str] = []

    def reply(request: object) -> object:
        line = f"{getattr(request, 'method', '')} {getattr(request, 'path', '')}"
        requested.append(line)
        if line.endswith("/health"):
            return HEALTH.reply
        return (
            answer(404, {"detail": "none"}) if line.startswith("DELETE") else FORBIDDEN if "POST" in line else listing
        )

    said = remote.drive(remote.deployment.describe(), reply, lambda: OPEN)  # type: ignore[arg-type]
    assert said == (
        f"Airflow 3.3.2 at {URL} answers. The account may read DAGs, read pools, write pools. It may not trigger. "
        "Its scheduler is unhealthy."
    )
    assert "astronomer_remote_test_" in requested[1]
    assert "astronomer_remote_test_" in requested[3]


def test_what_is_unknown_is_called_so() -> None:
    said = described(OPEN, dags=403, trigger=409, pools=403, delete=405)
    assert "It may not read DAGs, read pools. It is unknown whether it may trigger, write pools." in said


def test_a_token_has_no_name() -> None:
    settings = Settings(URL, password="token", authentication="software_api_key")
    assert "answers with the token or key. The account may trigger, write pools." in described(
        settings, dags=403, trigger=404, pools=403, delete=404
    )


def test_a_remote_that_is_down_is_no_matter_of_rights() -> None:
    with pytest.raises(RemoteUnavailable):
        described(OPEN, dags=503, trigger=404, pools=404, delete=404)


def test_1_10_has_no_accounts() -> None:
    remote = ScriptedRemote(OPEN, EXPERIMENTAL)
    said = remote.play(
        remote.deployment.describe(),
        Turn("GET /api/experimental/pools", ok([])),
        Turn("GET /health", answer(403, {"error": "Forbidden"})),
    )
    assert "knows no accounts" in said
    assert "Its health could not be read" in said
    assert "permission" in said


def examined(status: int, health: object = HEALTH.reply) -> Checkup:
    """What is known of an Airflow 3 that answers everything but its health with this status."""
    remote = ScriptedRemote(OPEN, V2, retry=RetryPolicy(attempts=1))

    def reply(request: object) -> object:
        return health if getattr(request, "path", "").endswith("/health") else answer(status, {"detail": "said"})

    test = ConnectionTest(remote.deployment.client)
    return remote.drive(test.examine(), reply, lambda: OPEN)  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "word"), [(403, "no"), (404, "yes"), (409, "unknown"), (422, "unknown")])
def test_each_permission_follows_from_a_reply(status: int, word: str) -> None:
    found = examined(status)
    assert set(found.may.values()) == {word}
    assert (found.maximum_page_limit, found.api, found.is_healthy) == (None, "v2", False)
    assert found.as_dict()["health"] == {"scheduler": "unhealthy", "dag_processor": None}


def test_a_reply_that_shows_nothing_leaves_a_permission_unknown() -> None:
    remote = ScriptedRemote(OPEN, V2, retry=RetryPolicy(attempts=1))
    healthy = ok({"scheduler": {"status": "healthy"}, "triggerer": {"status": None}})

    def reply(request: object) -> object:
        path, method = getattr(request, "path", ""), getattr(request, "method", "")
        if path.endswith("/health"):
            return healthy
        return answer(503) if method == "DELETE" else answer(404, {"detail": "none"})

    found = remote.drive(ConnectionTest(remote.deployment.client).examine(), reply, lambda: OPEN)  # type: ignore[arg-type]
    assert {name for name, word in found.may.items() if word == "unknown"} == {"delete DAG runs", "write pools"}
    assert found.is_healthy


def test_a_health_that_cannot_be_read_is_none() -> None:
    found = examined(404, answer(503))
    assert (found.health, found.is_healthy) == (None, False)
