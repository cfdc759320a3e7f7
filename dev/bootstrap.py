"""
What the Makefile runs before there is an environment: ``python3 -m dev.bootstrap COMMAND``.

It runs in any Python from 3.8 on and needs nothing installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from dev import chromium, missing, needs
from dev.environments import make, own_pythons, run_uv
from dev.missing import InstallError, Missing
from dev.places import ROOT
from dev.pythons import minor, pythons, short

READY = ".ready"
"""The file by which make knows that an environment is complete."""

SKIPPED = 77
"""The exit code of a part that was not run since something is missing, as in Automake."""


def _say(text: str) -> None:
    print(text, flush=True)


def _demo(options: argparse.Namespace) -> None:
    """Print what the demo will run, or why it cannot."""
    local, remote, said = needs.demo_versions(options.local or None, options.remote or None)
    _again_if_broken(ROOT / ".dev" / "demo")
    _say(f"Pythons on this machine: {pythons()}.")
    if said:
        _say(f"{said}.")
    for python in needs.downloads([needs.Needed(local, True), needs.Needed(remote, False)]):
        _say(f"uv will download Python {python}.")


def _test(_: argparse.Namespace) -> None:
    """Print what cannot run here, and start a new record of it."""
    missing.clear()
    _again_if_broken(ROOT / ".venv")
    lacks = needs.base()
    if lacks:
        raise lacks
    _say(f"Pythons on this machine: {pythons()}.")
    found: list[dict[str, str]] = []
    for part, needed in needs.AIRFLOWS.items():
        found += [{"part": part, "what": e.what, "why": e.why, "how": e.how} for e in needs.of_part(part)]
        for python in needs.downloads(list(needed)):
            _say(f"{part}: uv will download Python {python}.")
    if chromium.plan():
        _say(f"browser: {chromium.plan()}.")
    if not found:
        return
    _say(f"\nSome parts cannot run on this machine:\n\n{missing.table(found)}\n")
    if missing.strict():
        raise InstallError("CI or STRICT is set, so every part must run. Nothing was started.")


def _able(options: argparse.Namespace) -> None:
    """End with 77 if a part cannot be run, noting why; where everything must run, that is a failure."""
    lacks = needs.of_part(options.part)
    if not lacks:
        return
    for each in lacks:
        missing.record(options.part, each)
    if missing.strict():
        raise lacks[0]
    for each in lacks:
        _say(f"SKIPPED {options.part}: {each}")
    sys.exit(SKIPPED)


def _chromium(_: argparse.Namespace) -> None:
    """Provide a Chromium, if possible."""
    try:
        _say(f"The browser is {chromium.provide()}.")
    except Missing as error:
        if missing.strict():
            raise
        _say(f"{error}.")


def _report(_: argparse.Namespace) -> None:
    """Print what was not run."""
    rows = missing.recorded()
    if rows:
        _say(f"\nNot run, because this machine lacks something:\n\n{missing.table(rows)}")
    else:
        _say("\nNothing was skipped because of a missing Python or browser.")


def _venv(options: argparse.Namespace) -> None:
    """Make an environment with groups of pyproject.toml, kept as long as its Python fits."""
    folder = Path(options.folder)
    lacks = needs.base()
    if lacks:
        raise lacks
    python = pythons().first_of(map(minor, own_pythons()))
    if not _fits(folder):
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, short(python.version) if python else own_pythons()[0], _say)
    groups = [word for group in options.group for word in ("--group", group)]
    editable = ["--editable", "."] if options.project else []
    interpreter = str(folder / "bin" / "python")
    run_uv("pip", "install", "--python", interpreter, *options.requirements, *groups, *editable, report=_say)


def _again_if_broken(folder: Path) -> None:
    """Let make fill an environment again whose Python has gone, or is none that this package supports any more."""
    ready = folder / READY
    if ready.exists() and not _fits(folder):
        ready.unlink()


def _fits(folder: Path) -> bool:
    """Return whether an environment is there and its Python is one that this package supports."""
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [str(folder / "bin" / "python"), "-c", question], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return done.stdout.strip() in own_pythons()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dev.bootstrap", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help=_demo.__doc__)
    demo.add_argument("--local", default="")
    demo.add_argument("--remote", default="")
    demo.set_defaults(do=_demo)
    venv = commands.add_parser("venv", help=_venv.__doc__)
    venv.add_argument("folder")
    venv.add_argument("requirements", nargs="*")
    venv.add_argument("--group", action="append", default=[])
    venv.add_argument("--project", action="store_true", help="install this project, editable")
    venv.set_defaults(do=_venv)
    able = commands.add_parser("able", help=_able.__doc__)
    able.add_argument("part", choices=sorted(needs.AIRFLOWS))
    able.set_defaults(do=_able)
    for name, do in {"test": _test, "chromium": _chromium, "report": _report}.items():
        commands.add_parser(name, help=do.__doc__).set_defaults(do=do)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run one command."""
    options = _parser().parse_args(arguments)
    try:
        options.do(options)
    except (InstallError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
