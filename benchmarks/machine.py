"""What it is measured on, and what processes spend there."""

from __future__ import annotations

import contextlib
import os
import platform

import psutil


def machine() -> str:
    """What it is measured on."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU of a process, of its descendants, and of those that have ended."""
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total
