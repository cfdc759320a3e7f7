"""Whether a deployment is ready: its health endpoint, its database, which is quicker and says more, and a login."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dev.database import Database
from dev.versions import Generation, Release, kind

JOB_TYPES = {
    "scheduler": "SchedulerJob",
    "triggerer": "TriggererJob",
    "dag-processor": "DagProcessorJob",
}


def unhealthy(version: Release, url: str, database: Database, started: dict[str, str]) -> str | None:
    """Return why the deployment is not healthy yet, or None when it is.

    `started` holds the required components and when each was started (UTC, as the database writes it): only a job that
    began after that counts, since one from before a restart looks alive for half a minute. Two components of a kind
    have a job each.
    """
    jobs = _jobs(database)
    for name, since in sorted(started.items(), key=lambda each: each[1], reverse=True):
        if kind(name) in JOB_TYPES:
            newest = jobs.get(JOB_TYPES[kind(name)])
            if not newest or newest.pop(0) < since:
                return f"{name} has not reported that it runs"
    if version.web not in started:
        return None
    report = _get_json(url + version.health_path)
    if report is None:
        return f"{version.web} does not answer"
    for name in ("metadatabase", *(kind(name).replace("-", "_") for name in started)):
        status = report.get(name, {}).get("status", "healthy")
        if status not in ("healthy", None):  # None: a 2.x without a DAG processor of its own
            return f"{name} reports {status}"
    return None


def known_dags(database: Database) -> set[str]:
    """Return the ids of the DAGs that can be triggered now."""
    columns = database.columns("dag")
    current = "NOT is_stale" if "is_stale" in columns else "is_active"
    active = {row[0] for row in database.query(f"SELECT dag_id FROM dag WHERE {current}")}  # noqa: S608
    if "root_dag_id" in columns and "is_subdag" in columns and "has_task_concurrency_limits" not in columns:
        return active  # 1.10 reads DAGs from their files
    return active & {row[0] for row in database.query("SELECT dag_id FROM serialized_dag")}


def dag_files(folder: Path) -> list[Path]:
    """Return the files that should lead to a DAG or to an import error."""
    named = [path for path in folder.rglob("*.py") if not path.name.startswith("_")]
    texts = {path: path.read_text(errors="replace") for path in named}
    return [path for path, text in texts.items() if "dag" in text.lower() and "airflow" in text]


def unparsed(database: Database, files: Iterable[Path]) -> set[str]:
    """Return which of these DAG files have led neither to a DAG nor to an import error yet."""
    seen = [row[0] for row in database.query("SELECT fileloc FROM dag WHERE fileloc IS NOT NULL")]
    seen += [row[0] for row in database.query("SELECT filename FROM import_error")]
    # Airflow 3 names the file of an import error relative to the DAG folder.
    return {path.name for path in files if not any(name.endswith(path.name) for name in seen)}


def _jobs(database: Database) -> dict[str, list[str]]:
    """Return when each running job was started, by its kind and the newest first."""
    jobs: dict[str, list[str]] = {}
    query = "SELECT job_type, start_date FROM job WHERE state = 'running' ORDER BY start_date DESC"
    for job_type, began in database.query(query):
        jobs.setdefault(job_type, []).append(began)
    return jobs


def _get_json(url: str) -> dict[str, Any] | None:
    """Return the answer, or None when there is none; proxies of this machine are not used."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            report = json.load(answer)
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError):
        return None
    return report if isinstance(report, dict) else None


LOGIN_SECONDS = 30.0
CSRF_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


def login_problem(generation: Generation, url: str, login: str, password: str) -> str | None:
    """Return why nobody can log in to the UI with this login yet, or None when it was done."""
    # A session of its own, and no proxy, which could not reach this machine.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    try:
        if generation == "v2":
            return _by_token(opener, url, {"username": login, "password": password})
        return _by_form(opener, url, {"username": login, "password": password})
    except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
        return f"{url} does not let {login!r} in: {error}"


def _by_token(opener: urllib.request.OpenerDirector, url: str, login: dict[str, str]) -> str | None:
    """Airflow 3: a page made by JavaScript, which sends the login as JSON."""
    with opener.open(f"{url}/", timeout=LOGIN_SECONDS) as page:
        if "text/html" not in page.headers.get("Content-Type", ""):
            return f"{url} shows no page"
    body, headers = json.dumps(login).encode(), {"Content-Type": "application/json"}
    with opener.open(urllib.request.Request(f"{url}/auth/token", body, headers), timeout=LOGIN_SECONDS):
        return None  # any refusal is an error


def _by_form(opener: urllib.request.OpenerDirector, url: str, login: dict[str, str]) -> str | None:
    """Before: a form, which leads to the requested page, or back to itself."""
    page = f"{url}/login/?next={url}/home"
    with opener.open(page, timeout=LOGIN_SECONDS) as shown:
        token = CSRF_TOKEN.search(shown.read().decode(errors="replace"))
    if token is None:
        return f"{url} shows no login form"
    form = urllib.parse.urlencode({**login, "csrf_token": token[1]}).encode()
    with opener.open(page, form, timeout=LOGIN_SECONDS) as led_to:
        return f"{url} does not let {login['username']!r} in" if "/login" in led_to.url else None
