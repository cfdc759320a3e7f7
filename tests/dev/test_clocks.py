"""A process with a wrong clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev import clocks
from dev.clocks import ahead
from dev.missing import InstallError, Missing

NOW = "import time; before = time.monotonic(); time.sleep(0.2); print(time.time(), time.monotonic() - before)"


def test_a_clock_is_ahead_and_its_timers_are_right() -> None:
    env = {**os.environ, **ahead(60)}
    said = subprocess.run([sys.executable, "-c", NOW], env=env, capture_output=True, text=True, check=True).stdout
    clock, slept = map(float, said.split())
    assert 55 < clock - time.time() < 65
    assert 0.2 <= slept < 5


@pytest.mark.parametrize("fetched", [True, False])
def test_no_library_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fetched: bool) -> None:
    def unpacked(requirement: str) -> Path:
        if fetched:
            return tmp_path
        raise InstallError("no network")

    monkeypatch.setattr(clocks, "OF_DEBIAN", tmp_path)
    monkeypatch.setattr(clocks, "unpacked", unpacked)
    with pytest.raises(Missing, match="apt install faketime"):
        ahead(60)
