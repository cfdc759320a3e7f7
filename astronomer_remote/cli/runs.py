"""Commands about DAG runs and DAGs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.cli.commands import (
    COMMON,
    DAG_ID,
    REMOTE,
    RUN_ID,
    VERBOSE,
    Command,
    Exit,
    Interrupted,
    argument,
    index,
    number,
    seconds,
)
from astronomer_remote.cli.output import print_fields, print_json, print_rows, say
from astronomer_remote.cli.remote import remote_of
from astronomer_remote.cli.waiting import WAITING, end_of, wait_for

RUN_COLUMNS = {
    "run_id": "run_id",
    "state": "state",
    "run_type": "type",
    "logical_date": "logical_date",
    "start_date": "start",
    "end_date": "end",
}
TASK_COLUMNS = {
    "name": "task",
    "state": "state",
    "try_number": "try",
    "operator": "operator",
    "start_date": "start",
    "duration": "seconds",
}


def trigger(arguments: argparse.Namespace) -> Exit | None:
    """Trigger a run, or find the one of the same key, and perhaps wait for it."""
    for name in ("logs", "timeout", "cancel_on_interrupt"):
        if getattr(arguments, name) and not arguments.wait:
            raise InvalidSettings(f"--{name.replace('_', '-')} needs --wait.")
    given: dict[str, Any] = {name: getattr(arguments, name) for name in ("run_id", "key", "note")}
    if arguments.logical_date is not None:
        given["logical_date"] = arguments.logical_date
    conf = json_of(arguments.conf, "--conf")
    ends = end_of(arguments)
    remote = remote_of(arguments, ends=ends)
    try:
        run = remote.run(lambda deployment: deployment.trigger_dag_run(arguments.dag_id, conf=conf, **given))
    except Interrupted as interrupt:
        again = " The same --key finds it." if arguments.key else ""
        say(f"Interrupted. A run of DAG {arguments.dag_id} may have been triggered all the same.{again}")
        interrupt.reported = True
        raise
    say(f"Run {run.run_id} of DAG {run.dag_id} is {run.state}: {run.url}")
    if arguments.open:
        import webbrowser

        webbrowser.open(run.url)
    if arguments.wait:
        return wait_for(remote, run, arguments, ends)
    print_fields(run.as_dict(largest=None), arguments.output)
    return None


def wait(arguments: argparse.Namespace) -> Exit:
    """Wait for a run that exists."""
    ends = end_of(arguments)
    remote = remote_of(arguments, ends=ends)
    run = remote.run(lambda deployment: deployment.get_dag_run(arguments.dag_id, arguments.run_id), ends=ends)
    return wait_for(remote, run, arguments, ends)


def runs(arguments: argparse.Namespace) -> None:
    """List the runs of a DAG, or show one with its tasks."""
    remote = remote_of(arguments)
    dag_id, run_id = arguments.dag_id, arguments.run_id
    if run_id is None:
        found = remote.run(lambda deployment: deployment.list_dag_runs(dag_id, logical_date=arguments.logical_date))
        chosen = [run.as_dict(largest=None) for run in found if arguments.state in (None, run.state)]
        print_rows(chosen, RUN_COLUMNS, arguments.output)
        return
    run = remote.run(lambda deployment: deployment.get_dag_run(dag_id, run_id))
    tasks = remote.run(lambda deployment: deployment.list_task_instances(dag_id, run_id))
    rows = [{**vars(task), "name": task.name} for task in tasks]
    if arguments.output == "json":
        print_json({**run.as_dict(largest=None), "tasks": rows})
        return
    print_fields(run.as_dict(largest=None), arguments.output)
    print()
    print_rows(rows, TASK_COLUMNS, arguments.output)


def logs(arguments: argparse.Namespace) -> None:
    """Print the log of a task, and with ``--follow`` what is added to it until its try has ended."""
    from astronomer_remote.api.waiting.log_stream import LogWarning, name_and_try

    def show(line: str) -> None:
        say(line) if isinstance(line, LogWarning) else print(line, flush=True)

    instance = remote_of(arguments).run(
        lambda deployment: deployment.task_logs.read(
            arguments.dag_id,
            arguments.run_id,
            arguments.task_id,
            on_line=show,
            map_index=arguments.map_index,
            try_number=arguments.try_number,
            poke_interval=arguments.poll if arguments.follow else None,
        )
    )
    if arguments.follow:
        say(f"Task {name_and_try(instance)} is {instance.state}")


def cancel(arguments: argparse.Namespace) -> None:
    """Cancel a run."""
    run = remote_of(arguments).run(lambda deployment: deployment.cancel_dag_run(arguments.dag_id, arguments.run_id))
    print_fields(run.as_dict(largest=None), arguments.output)


def clear(arguments: argparse.Namespace) -> None:
    """Let a run run again."""
    run = remote_of(arguments).run(
        lambda deployment: deployment.clear_dag_run(
            arguments.dag_id, arguments.run_id, only_failed=arguments.only_failed
        )
    )
    print_fields(run.as_dict(largest=None), arguments.output)


def pause(arguments: argparse.Namespace) -> None:
    """Pause a DAG."""
    remote_of(arguments).run(lambda deployment: deployment.pause_dag(arguments.dag_id))
    print_fields({"dag_id": arguments.dag_id, "is_paused": True}, arguments.output)


def unpause(arguments: argparse.Namespace) -> None:
    """Unpause a DAG."""
    remote_of(arguments).run(lambda deployment: deployment.unpause_dag(arguments.dag_id))
    print_fields({"dag_id": arguments.dag_id, "is_paused": False}, arguments.output)


def call(arguments: argparse.Namespace) -> None:
    """Call an endpoint, and print the reply as JSON."""
    body = json_of(arguments.json, "--json")
    print_json(
        remote_of(arguments).run(lambda deployment: deployment.call(arguments.method, arguments.path, json=body))
    )


def json_of(text: str | None, name: str) -> Any:
    """
    JSON of an argument: itself, or in a file after ``@``.

    :raises InvalidSettings: if it is none.
    """
    if text is None:
        return None
    try:
        # PowerShell begins a file with a mark of its encoding.
        return json.loads(Path(text[1:]).read_text(encoding="utf-8-sig") if text.startswith("@") else text)
    except OSError as error:
        raise InvalidSettings(f"{name}: the file {text[1:]!r} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidSettings(f"{name} is not JSON: {error}.") from None


LOGICAL_DATE = argument("--logical-date", metavar="DATE", help="ISO 8601, UTC if without a zone")

COMMANDS = (
    Command(
        "trigger",
        "Trigger a DAG run",
        trigger,
        (
            DAG_ID,
            argument("--conf", metavar="JSON|@FILE", help="JSON object for the run"),
            LOGICAL_DATE,
            argument("--run-id", metavar="RUN_ID", help="id of the run (default: a unique one)"),
            argument("--key", metavar="TEXT", help="such as a commit: the same key again means the same run"),
            argument("--note", metavar="TEXT", help="note of the run"),
            argument("--wait", action="store_true", help="wait for the end of the run"),
            *WAITING,
            argument("--open", action="store_true", help="open the page of the run in a browser"),
            *COMMON,
        ),
        changes=True,
    ),
    Command("wait", "Wait for the end of a DAG run", wait, (DAG_ID, RUN_ID, *WAITING, *COMMON)),
    Command(
        "runs",
        "List the runs of a DAG, or show one run with its tasks",
        runs,
        (
            DAG_ID,
            argument("run_id", nargs="?", metavar="RUN_ID", help="show this run (default: list all)"),
            argument("--state", metavar="STATE", help="list only runs in this state"),
            LOGICAL_DATE,
            *COMMON,
        ),
    ),
    Command(
        "logs",
        "Print the log of a task",
        logs,
        (
            DAG_ID,
            RUN_ID,
            argument("task_id", metavar="TASK_ID", help="the task"),
            argument(
                "--try", dest="try_number", type=number, metavar="N", help="number of the try (default: the last)"
            ),
            argument("--map-index", type=index, default=-1, metavar="N", help="instance of a mapped task, from 0"),
            argument("--follow", "-f", action="store_true", help="print what is added until the try has ended"),
            argument("--poll", type=seconds, default=5.0, metavar="SECONDS", help="with --follow: pause (default: 5)"),
            *REMOTE,
            VERBOSE,
        ),
    ),
    Command("cancel", "Set a DAG run to failed, which ends its tasks", cancel, (DAG_ID, RUN_ID, *COMMON), changes=True),
    Command(
        "clear",
        "Let a DAG run run again",
        clear,
        (DAG_ID, RUN_ID, argument("--only-failed", action="store_true", help="only its failed tasks"), *COMMON),
        changes=True,
    ),
    Command("pause", "Pause a DAG", pause, (DAG_ID, *COMMON), changes=True),
    Command("unpause", "Unpause a DAG", unpause, (DAG_ID, *COMMON), changes=True),
    Command(
        "call",
        "Call any endpoint of the REST API, and print its JSON",
        call,
        (
            argument("method", metavar="METHOD", help="GET, POST, PUT, PATCH or DELETE"),
            argument("path", metavar="PATH", help="path as in Airflow's reference, such as /dags"),
            argument("--json", metavar="JSON|@FILE", help="body"),
            *COMMON,
        ),
        changes=True,
    ),
)
