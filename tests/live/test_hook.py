"""Tasks in a real local Airflow use AstronomerHook on real remotes."""

from __future__ import annotations

from tests.live.plan import SYNC, scenario
from tests.live.seen import Seen


@scenario("hook_reads", SYNC)
def test_everything_can_be_read_in_every_way(seen: Seen) -> None:
    seen.succeeded("read")
    found = seen.xcom("read")
    version = "None" if seen.remote.version < (2, 0) else seen.remote.deployment.version
    assert (found["generation"], found["version"]) == (seen.remote.deployment.generation, version)
    assert found["health"]["scheduler"] == "healthy"
    assert "default_pool" in found["pools"]
    # Other tests of this pair create and delete pools at the same time.
    pools, read_version = found["twins"]
    assert "default_pool" in pools
    assert read_version == version
    assert found["called"]["items" if seen.remote.version < (2, 0) else "event_logs"]
    assert found["page"]["metadatabase"]["status"] == "healthy"


@scenario("hook_pools", SYNC)
def test_pools_are_made_changed_and_deleted(seen: Seen) -> None:
    seen.succeeded("change")
    assert seen.xcom("change") == [3, 5, 5]
    assert (seen.remote.slots("live"), seen.remote.slots("default_pool")) == (5, 17)
    assert seen.remote.slots("short-lived") is None


@scenario("hook_config", SYNC, smoke=True)
def test_the_configuration_is_read_or_the_reason_given(seen: Seen) -> None:
    if seen.remote.version < (2, 0):
        seen.failed("read", "NotSupported", "Airflow 1.10's experimental API cannot")
    elif seen.remote.hides_config:
        seen.failed("read", "AccessDenied", "expose_config")
    else:
        seen.succeeded("read")
        assert seen.xcom("read") == str(seen.remote.deployment.dags)


@scenario("hook_cancels", SYNC)
def test_a_run_is_cancelled_or_the_reason_given(seen: Seen) -> None:
    (run,) = seen.remote.runs("to_cancel")
    if seen.remote.version < (2, 2):
        seen.failed("cancel", "NotSupported", "cannot")
        return
    seen.succeeded("cancel")
    assert seen.xcom("cancel") == ["queued", "failed"]
    assert run.state == "failed"


@scenario("test_button", SYNC, since=(2, 0))
def test_the_test_button_reports_what_it_found(seen: Seen) -> None:
    seen.succeeded("press")
    (right, lines), (wrong, refusal), (down, unreachable) = seen.xcom("press")
    assert (right, wrong, down) == (True, False, False), (lines, refusal, unreachable)
    assert seen.remote.deployment.version in lines
    assert "did not accept the connection's login" in refusal
    assert "No reply from" in unreachable
