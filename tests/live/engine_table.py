"""The table of `docs/faults.md` of what became of tasks in a deployment with Celery when a part of it was ended."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.live.fault_cases import PAGE
from tests.live.kill_table import draw
from tests.live.plan import DEFERRABLE, SYNC, Pair
from tests.live.tables import Table

PAIRS = (Pair("3.3.2", "2.11.2"), Pair("2.11.2", "2.11.2"))

TRIGGERER = "one of two triggerers is killed while 200 wait"
WORKER = "one of two workers is killed while 20 trigger"
WORKER_WAITS = "one of two workers is killed while 8 wait"
SCHEDULER = "one of two schedulers is killed while 20 trigger"
SCHEDULER_WAITS = "one of two schedulers is killed while 8 wait"
REDELIVERED = "Celery delivers the messages of 4 again while they wait (visibility timeout)"
REDELIVERED_PLAIN = "the same, of 4 `BashOperator` at the same time"
REDELIVERED_LATE = "Celery delivers them again after `[scheduler] task_queued_timeout`"
REDELIVERED_LATE_PLAIN = "the same after that, of 4 `BashOperator`"
REDIS = "Redis is killed while 20 trigger, and loses its messages"
REDIS_PLAIN = "the same, of 20 `BashOperator` at the same time"
POSTGRES = "PostgreSQL is killed and started while 20 trigger"
CLOCK = "the clock of one of two workers is a minute ahead"

ROWS = (
    (TRIGGERER, DEFERRABLE),
    (WORKER, DEFERRABLE),
    (WORKER_WAITS, SYNC),
    (SCHEDULER, DEFERRABLE),
    (SCHEDULER_WAITS, SYNC),
    (REDELIVERED, SYNC),
    (REDELIVERED_PLAIN, SYNC),
    (REDELIVERED_LATE, SYNC),
    (REDELIVERED_LATE_PLAIN, SYNC),
    (REDIS, DEFERRABLE),
    (REDIS_PLAIN, SYNC),
    (POSTGRES, DEFERRABLE),
    (CLOCK, SYNC),
    (CLOCK, DEFERRABLE),
)

ENGINE_TABLE = Table(PAGE, "engine", Path(__file__).with_name("engine.json"), partial(draw, pairs=PAIRS, rows=ROWS))
