"""The command line: ``python -m dev --help``."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from dev.deployments import Airflow, StartError
from dev.environments import InstallError, environment
from dev.places import HOME_VARIABLE
from dev.pythons import DOWNLOADS_VARIABLE, ONLY_VARIABLE
from dev.state import State, running, stop
from dev.templates import PrepareError

EPILOG = f"""
Versions are full ones, such as 1.10.15, 2.11.2 or 3.3.2. Everything made here lies in .dev/ (environments,
prepared databases, running deployments), or in the folder named by {HOME_VARIABLE}.
Environments are made by uv, with a Python of this machine if it has one that fits ({ONLY_VARIABLE}
names folders to search instead of the usual ones), else with one that uv downloads, unless {DOWNLOADS_VARIABLE}=never.

examples:
  python -m dev install 2.11.2 3.3.2
  python -m dev start 2.11.2 --dags tests/live/remote_dags --name remote
  python -m dev status
  python -m dev stop remote
"""


def _report(text: str) -> None:
    """Print a step, separate from the paths that scripts read."""
    print(text, file=sys.stderr, flush=True)


def _install(options: argparse.Namespace) -> None:
    for version in options.versions:
        print(
            environment(
                version,
                project=options.project,
                extras=options.extra,
                python=options.python,
                exclude_newer=options.exclude_newer,
                report=_report,
            )
        )


def _start(options: argparse.Namespace) -> None:
    deployment = Airflow(
        options.version,
        name=options.name,
        dags=options.dags,
        project=options.project,
        extras=options.extra,
        env=dict(pair.split("=", 1) for pair in options.set),
        auth_manager="fab" if options.fab else None,
        engine=options.engine,
        keep=options.keep,
        python=options.python,
        exclude_newer=options.exclude_newer,
        report=_report,
    )
    print(f"Starting Airflow {options.version}; the first time takes some minutes.", flush=True)
    began = time.monotonic()
    with deployment:
        print(f"Ready after {time.monotonic() - began:.0f} s. Ctrl-C stops it.")
        print(f"  url     {deployment.url}\n  home    {deployment.home}\n  dags    {deployment.dags}")
        for role, (login, password) in deployment.users.items():
            print(f"  login   {login} / {password} ({role})")
        for name, pid in deployment.processes.items():
            print(f"  {name:<15} pid {pid}", flush=True)
        while deployment.alive:
            time.sleep(0.5)
        print("Stopped by another process.")


def _status(options: argparse.Namespace) -> None:
    states = running()
    for state in states:
        pids = ", ".join(f"{name} {pid}" for name, pid in state.processes.items())
        print(f"{state.name}: Airflow {state.version} at {state.url}\n  home {state.home}\n  pids {pids}")
    if not states:
        print("No deployment is running.")


def _stop(options: argparse.Namespace) -> None:
    found: list[State] = [s for s in running() if not options.names or s.name in options.names]
    for missing in set(options.names) - {state.name for state in found}:
        raise SystemExit(f"No deployment named {missing!r} is running.")
    for state in found:
        stop(state)
        print(f"Stopped {state.name} (Airflow {state.version}, {state.url}).")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dev",
        description="Throw-away real Airflow deployments of any version on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    install = commands.add_parser("install", help="make the environments of these versions and print their paths")
    install.add_argument("versions", nargs="+", metavar="VERSION")
    install.set_defaults(do=_install)
    env = commands.add_parser("env", help="the same for one version, for use in scripts")
    env.add_argument("versions", nargs=1, metavar="VERSION")
    env.set_defaults(do=_install)
    start = commands.add_parser("start", help="run a deployment until Ctrl-C")
    start.add_argument("version", metavar="VERSION")
    start.add_argument("--dags", type=Path, metavar="DIR", help="folder whose DAG files it gets")
    start.add_argument("--name", default="airflow", help="what `status` and `stop` call it (default: airflow)")
    start.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="environment variable")
    start.add_argument("--fab", action="store_true", help="Airflow 3: use the auth manager of the FAB provider")
    start.add_argument(
        "--engine", choices=("local", "celery"), default="local", help="celery: with PostgreSQL, Redis and two workers"
    )
    start.add_argument("--keep", action="store_true", help="leave its home and logs behind")
    start.set_defaults(do=_start)
    for command in (install, env, start):
        command.add_argument("--project", action="store_true", help="install this project, editable")
        command.add_argument("--extra", action="append", default=[], metavar="REQ", help="further requirement")
        command.add_argument("--python", metavar="X.Y", help="another Python than the usual one")
        command.add_argument("--exclude-newer", metavar="DATE", help='resolve as of this date ("": today)')

    commands.add_parser("status", help="show what runs").set_defaults(do=_status)
    ending = commands.add_parser("stop", help="stop the deployments of these names, all if none")
    ending.add_argument("names", nargs="*", metavar="NAME")
    ending.set_defaults(do=_stop)
    return parser


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run one command; SIGTERM ends a deployment as orderly as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)
    options = _parser().parse_args()
    try:
        options.do(options)
    except KeyboardInterrupt:
        print("Stopped.")
    except (InstallError, PrepareError, StartError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
