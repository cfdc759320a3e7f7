"""The connection form of the real UIs: its fields, the result of Test, and what it shows when it is opened again."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from astronomer_remote.get_provider_info import FIELDS, PLACEHOLDERS, RELABELING
from tests.browser.saved import API, CONNECTION, HEADERS, PASSWORD, URL, USER, Saved, fields
from tests.browser.ui import Ui

# What these are called where a connection type says nothing of them; the scheme is part of the URL.
NOT_OURS = ("Host", "Login", "Schema")
SECRET_FIELDS = (PASSWORD, *(field.label for field in FIELDS if field.secret))


def test_the_form_names_and_explains_its_fields(ui: Ui) -> None:
    ui.new_connection("form")
    for name, label in RELABELING.items():
        expect(ui.box(label)).to_have_attribute("placeholder", PLACEHOLDERS.get(name, ""))
    for label in NOT_OURS:
        expect(ui.field(label)).to_be_hidden()
    for field in FIELDS:
        expect(ui.field(field.label)).to_contain_text(field.description)
        assert not field.choices or ui.choices(field.label) == list(field.choices)


@pytest.mark.parametrize("label", SECRET_FIELDS)
def test_a_secret_cannot_be_read_while_it_is_typed(ui: Ui, label: str) -> None:
    ui.new_connection("secret")
    expect(ui.box(label)).to_have_attribute("type", "password")


def test_the_button_says_what_was_found(ui: Ui, saved: Saved) -> None:
    assert f"Airflow {ui.version} at {ui.url} answers as {ui.login}." in saved.lines
    assert "The account may read DAGs, trigger, read pools, write pools." in saved.lines
    assert "scheduler is healthy, triggerer is healthy" in saved.lines


def test_what_was_saved_is_shown_again_but_for_the_secrets(ui: Ui, saved: Saved) -> None:
    """And stays when it is saved again, which the tests of links would notice."""
    ui.edit_connection(CONNECTION)
    expect(ui.box(URL)).to_have_value(ui.url)
    expect(ui.box(USER)).to_have_value(ui.login)
    ui.chosen(API, saved.api)
    for label in SECRET_FIELDS:
        expect(ui.box(label)).to_have_value(re.compile(r"^(\*\*\*)?$"))
    assert not [secret for secret in (ui.password, HEADERS) if secret in ui.page.content()]
    ui.save(CONNECTION)


@pytest.mark.parametrize(
    ("conn_id", "wrong", "why"),
    [
        ("wrong_password", {PASSWORD: "wrong-s3cr3t"}, "did not accept the connection's login 'robot'"),
        ("wrong_address", {URL: "http://127.0.0.1:9"}, "No reply"),
    ],
)
def test_the_button_says_what_is_wrong_in_a_sentence_or_two(
    ui: Ui, conn_id: str, wrong: dict[str, str], why: str
) -> None:
    ui.new_connection(conn_id)
    ui.fill_in({**fields(ui), **wrong})
    said = ui.press_test_and_save(conn_id)
    assert why in said
    assert len(re.findall(r"\.(?=\s|$)", said)) <= 2
    assert "s3cr3t" not in said
