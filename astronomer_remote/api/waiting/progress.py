"""How far a run is, in a line, and how often somebody who waits is told such things."""

from __future__ import annotations

from collections.abc import Sequence

from astronomer_remote.api.protocol.models import FINISHED_TASK_STATES, REMOVED, TaskInstance

SECONDS_BETWEEN_PROGRESS = 60.0
"""How often somebody who waits is told at most: it costs the remote a listing each time."""

FOLLOWED_AT_ONCE = 2
"""Of how many runs a watcher finds such things out at a time, however many wait; the others have their turn later."""

SECONDS_BETWEEN_RUNS = 10.0
"""How often a watcher finds out how far one more run is, so that six wait for theirs without having to take turns."""

LONGEST_RUN = 100
"""Task instances of a run whose progress is told: as many as come in one listing."""

RUNNING_NAMED = 5


def progress_line(instances: Sequence[TaskInstance]) -> str:
    """Such as ``3/12 tasks done, running: load_orders (try 2), transform[7]``."""
    instances = [each for each in instances if each.state != REMOVED]
    done = sum(each.state in FINISHED_TASK_STATES for each in instances)
    running = [name_and_try(each) for each in instances if each.state in ("running", "deferred")]
    more = f" and {len(running) - RUNNING_NAMED} more" if len(running) > RUNNING_NAMED else ""
    suffix = f", running: {', '.join(running[:RUNNING_NAMED])}{more}" if running else ""
    return f"{done}/{len(instances)} tasks done{suffix}"


def name_and_try(instance: TaskInstance) -> str:
    """What to call a task instance in a log, such as ``transform[7] (try 2)``."""
    return f"{instance.name} (try {instance.try_number})" if instance.try_number > 1 else instance.name
