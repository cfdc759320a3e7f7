"""All commands."""

from __future__ import annotations

from astronomer_remote.cli import assets, completion, doctor, pools, runs
from astronomer_remote.cli import map as maps
from astronomer_remote.cli.commands import Command, Group

COMMANDS: tuple[Command | Group, ...] = (
    *runs.COMMANDS,
    *pools.COMMANDS,
    *assets.COMMANDS,
    *maps.COMMANDS,
    *doctor.COMMANDS,
    *completion.COMMANDS,
)
