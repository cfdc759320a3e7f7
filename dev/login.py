"""Logs in to a deployment's UI as a person does: the surest sign that its address can be given to one."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request

from dev.versions import Generation

SECONDS = 30.0
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
    with opener.open(f"{url}/", timeout=SECONDS) as page:
        if "text/html" not in page.headers.get("Content-Type", ""):
            return f"{url} shows no page"
    body, headers = json.dumps(login).encode(), {"Content-Type": "application/json"}
    with opener.open(urllib.request.Request(f"{url}/auth/token", body, headers), timeout=SECONDS):
        return None  # any refusal is an error


def _by_form(opener: urllib.request.OpenerDirector, url: str, login: dict[str, str]) -> str | None:
    """Before: a form, which leads to the requested page, or back to itself."""
    page = f"{url}/login/?next={url}/home"
    with opener.open(page, timeout=SECONDS) as shown:
        token = CSRF_TOKEN.search(shown.read().decode(errors="replace"))
    if token is None:
        return f"{url} shows no login form"
    form = urllib.parse.urlencode({**login, "csrf_token": token[1]}).encode()
    with opener.open(page, form, timeout=SECONDS) as led_to:
        return f"{url} does not let {login['username']!r} in" if "/login" in led_to.url else None
