"""The connection that the tests make by the form, and then use."""

from __future__ import annotations

from typing import NamedTuple

from astronomer_remote.get_provider_info import FIELDS, RELABELING
from tests.browser.ui import Ui

CONNECTION = "other_team"
URL, USER, PASSWORD = (RELABELING[name] for name in ("host", "login", "password"))
API, EXTRA_HEADERS = (field.label for field in FIELDS if field.name in ("api", "secret_headers"))
HEADERS = '{"X-Gateway-Key": "s3cr3t-of-a-gateway"}'


class Saved(NamedTuple):
    """What came of saving it."""

    api: str
    lines: str


def fields(ui: Ui) -> dict[str, str]:
    """What leads a connection to the UI's own deployment."""
    return {URL: ui.url, USER: ui.login, PASSWORD: ui.password}


def save(ui: Ui, api: str) -> Saved:
    """Make the connection, pressing Test on the way."""
    ui.new_connection(CONNECTION)
    ui.choose(API, api)
    ui.fill_in({EXTRA_HEADERS: HEADERS, **fields(ui)})
    return Saved(api, ui.press_test_and_save(CONNECTION))
