"""Where things are: the project's root and the git-ignored folder that holds everything made by this package."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME_VARIABLE = "ASTRONOMER_REMOTE_DEV_HOME"


def dev_home() -> Path:
    """Return the folder for environments, caches and running deployments, made on first use."""
    home = Path(os.environ.get(HOME_VARIABLE) or ROOT / ".dev").resolve()
    home.mkdir(parents=True, exist_ok=True)
    ignore = home / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return home


def subfolder(name: str) -> Path:
    """Return `name` inside :func:`dev_home`, made if needed."""
    folder = dev_home() / name
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the system frees it however the holder ends."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
