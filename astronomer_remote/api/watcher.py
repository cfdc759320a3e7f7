"""Waits for runs and tasks of remote deployments in a triggerer: the one object that triggers ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.settings import Settings
from astronomer_remote.api.transport import async_driver
from astronomer_remote.api.waiting import Outcome, Wanted


async def watch(
    wanted: Wanted,
    *,
    settings: Settings,
    reload: Callable[[], Awaitable[Settings]],
    poke_interval: float,
    deadline: float | None,
    told: Callable[[str], None],
) -> Outcome:
    """
    Wait until what is wanted has come about.

    :param settings: where the deployment is.
    :param reload: reads the connection anew.
    :param poke_interval: seconds between two looks.
    :param deadline: when to give up, in seconds since the epoch.
    :param told: gets a line whenever something changed.
    """
    deployment = Deployment(settings)
    async with async_driver(settings, reload) as driver:
        return await driver.run(
            deployment.observer.wait(wanted, poke_interval=poke_interval, deadline=deadline, told=told)
        )
