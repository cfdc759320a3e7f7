"""
Wrong clocks for single processes, by the library libfaketime.

It is Debian's, else the one in the wheel `libfaketime`, which is the only one and released this year.
"""

from __future__ import annotations

from pathlib import Path

from dev.missing import InstallError, Missing
from dev.wheels import unpacked

WHEEL = "libfaketime==3.0.1"
OF_DEBIAN = Path("/usr/lib")


def ahead(seconds: int) -> dict[str, str]:
    """
    Return the environment variables of a process whose clock is ahead; its timers run as they would.

    :raises Missing: when the library is not there.
    """
    return {"LD_PRELOAD": str(_library()), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def _library() -> Path:
    found = next(OF_DEBIAN.glob("*/faketime/libfaketime.so.1"), None)
    if found:
        return found
    try:
        there = next(unpacked(WHEEL).rglob("libfaketime.so.1"), None)
    except InstallError as error:
        raise _missing("needs libfaketime, which cannot be fetched", str(error)) from error
    if there is None:
        raise _missing(f"needs libfaketime, and {WHEEL} has none for this machine")
    return there


def _missing(why: str, said: str = "") -> Missing:
    return Missing("A wrong clock", why, "Install it (such as: apt install faketime)", said)
