"""A proxy of the machine is not used to reach the machine itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dev.loopback import NAMES, bypass_proxy, without_proxy
from dev.settings import Place, settings
from dev.versions import Release


def test_what_is_exempt_stays_so() -> None:
    found = without_proxy({"NO_PROXY": "intra.example, localhost"})
    assert found["NO_PROXY"] == found["no_proxy"] == "intra.example,localhost,127.0.0.1,::1"


def test_the_lower_case_wins_as_it_does_for_those_who_read_it() -> None:
    assert without_proxy({"NO_PROXY": "a", "no_proxy": "b"})["NO_PROXY"].startswith("b,")


@pytest.mark.parametrize("version", ["1.10.15", "2.11.2", "3.3.2"])
def test_components_reach_each_other_and_other_deployments(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "intra.example")
    monkeypatch.delenv("no_proxy", raising=False)
    env = settings(Release.parse(version), Place(tmp_path, tmp_path, tmp_path, 1), {}, None, {})
    assert env["HTTP_PROXY"] == "http://127.0.0.1:9"
    for name in ("NO_PROXY", "no_proxy"):
        assert {"intra.example", *NAMES} <= set(env[name].split(","))


def test_this_process_and_its_children_are_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "intra.example")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    address = "http://127.0.0.1:8080/api"
    assert requests.utils.get_environ_proxies(address)

    bypass_proxy()
    assert not requests.utils.get_environ_proxies(address)
    assert os.environ["NO_PROXY"].startswith("intra.example,")
