"""Airflow finds the provider, and both shapes of the connection form say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import jsonschema
import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseTrigger

from astronomer_remote import __version__, get_provider_info
from astronomer_remote.api.protocol.auth import AUTHENTICATIONS, AUTO, BUILT_IN, find
from astronomer_remote.api.protocol.models import Generation
from astronomer_remote.api.protocol.settings import Settings

AIRFLOW = tuple(int(part) for part in airflow_version.split(".")[:2])
INFO = get_provider_info.get_provider_info()
(CONNECTION,) = INFO["connection-types"]
CONN_FIELDS: dict[str, dict[str, Any]] = CONNECTION["conn-fields"]


def schema(name: str) -> Any:
    return json.loads(files("airflow").joinpath(name).read_text())


def test_airflow_finds_the_provider_by_its_entry_point() -> None:
    (entry_point,) = (
        entry_point
        for entry_point in entry_points(group="apache_airflow_provider")
        if entry_point.dist is not None and entry_point.dist.name == INFO["package-name"]
    )
    assert entry_point.load()() == INFO
    assert entry_point.dist.version == __version__


def problems(found: Any, target: Any) -> list[str]:
    """What of something does not fit a schema."""
    return [error.message for error in jsonschema.validators.validator_for(target)(target).iter_errors(found)]


def test_the_info_keeps_the_schema_of_this_airflow() -> None:
    assert problems(INFO, schema("provider_info.schema.json")) == []


def test_the_form_keeps_the_stricter_schema_that_providers_are_written_in() -> None:
    stricter = schema("provider.yaml.schema.json")["properties"] if AIRFLOW >= (3, 2) else None
    if stricter is None:
        pytest.skip("this Airflow has no schema for conn-fields")
    assert problems(INFO["connection-types"], stricter["connection-types"]) == []


def test_the_standard_fields_keep_the_schema_of_this_airflow() -> None:
    behaviour = get_provider_info.ui_field_behaviour()
    assert problems(behaviour, schema("customized_form_field_behaviours.schema.json")) == []
    assert behaviour == {key.replace("-", "_"): value for key, value in CONNECTION["ui-field-behaviour"].items()}


def test_the_form_has_the_fields_that_are_read_from_a_connection() -> None:
    def name_of(setting: str) -> str:
        return {"authentication": "auth", "generation": "api", "headers": "secret_headers"}.get(setting, setting)

    elsewhere = {"base_url", "login", "password", "login_fields"}
    of_logins = {name for login in BUILT_IN for name in (*find(login).fields, *find(login).secret_fields)}
    assert set(CONN_FIELDS) == {name_of(field.name) for field in fields(Settings)} - elsewhere | of_logins
    assert CONN_FIELDS["auth"]["schema"]["enum"] == list(AUTHENTICATIONS)
    assert CONN_FIELDS["api"]["schema"]["enum"] == [AUTO, *(generation.value for generation in Generation)]


def test_the_defaults_in_the_form_are_the_defaults_without_it() -> None:
    defaults = {name: field["schema"].get("default") for name, field in CONN_FIELDS.items()}
    host = "https://airflow.example.com"
    assert Settings.parse(host=host, extra=defaults) == Settings.parse(host=host)


def test_what_the_test_buttons_need_is_not_hidden() -> None:
    """3.3.2 refuses to test what has no port, and the button of 2.11 does nothing where the extra is hidden."""
    assert not {"port", "extra"} & set(get_provider_info.HIDDEN)


def test_a_secret_has_a_name_that_airflow_masks() -> None:
    from airflow.providers.common.compat.sdk import redact

    secret = [name for name, field in CONN_FIELDS.items() if field["schema"].get("format") == "password"]
    assert secret == ["secret_headers"]
    assert redact({"X-Key": "swordfish"}, "secret_headers") == {"X-Key": "***"}


@pytest.mark.parametrize("kind", ["hooks", "operators", "sensors", "triggers"])
def test_every_module_that_is_announced_exists(kind: str) -> None:
    for integration in INFO[kind]:
        assert integration["integration-name"] == INFO["integrations"][0]["integration-name"]
        for module in integration["python-modules"]:
            assert find_spec(module), module


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        ("hooks", BaseHook),
        ("operators", BaseOperator),
        ("sensors", BaseSensorOperator),
        ("triggers", BaseTrigger),
    ],
)
def test_every_module_that_has_one_is_announced(kind: str, base: type) -> None:
    package = import_module(f"astronomer_remote.{kind}")
    names = [f"{package.__name__}.{found.name}" for found in iter_modules(package.__path__) if found.name != "base"]
    having = {
        name
        for name in names
        for each in vars(import_module(name)).values()
        if isinstance(each, type) and issubclass(each, base) and each.__module__ == name
    }
    assert having == {module for integration in INFO[kind] for module in integration["python-modules"]}


@pytest.mark.skipif(not find_spec("flask_appbuilder"), reason="this Airflow has no wtforms")
def test_the_older_form_has_the_fields_of_the_newer_one() -> None:
    from wtforms import BooleanField, Form, IntegerField, PasswordField, StringField

    widgets = get_provider_info.connection_form_widgets()
    form = type("ConnectionForm", (Form,), widgets)()
    kinds = {"string": StringField, "number": IntegerField, "boolean": BooleanField}

    assert list(widgets) == list(CONN_FIELDS)
    for name, field in CONN_FIELDS.items():
        declared = field["schema"]
        expected = PasswordField if declared.get("format") == "password" else kinds[declared["type"][0]]
        assert type(form[name]) is expected
        assert form[name].label.text == field["label"]
        assert form[name].description.startswith(field["description"])
        assert form[name].data == declared.get("default")


@pytest.mark.skipif(not find_spec("flask_appbuilder"), reason="this Airflow has no wtforms")
def test_the_older_form_refuses_what_the_newer_one_does_not_offer() -> None:
    from werkzeug.datastructures import MultiDict
    from wtforms import Form

    form_class = type("ConnectionForm", (Form,), get_provider_info.connection_form_widgets())
    typo = form_class(MultiDict({"auth": "astro-token", "api": "v1", "read_timeout": "soon"}))
    assert not typo.validate()
    assert sorted(typo.errors) == ["auth", "read_timeout"]
    assert form_class(MultiDict({"auth": "", "api": "v2", "read_timeout": ""})).validate()


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="this Airflow has no stand-ins for wtforms")
def test_the_older_form_can_be_made_of_airflow_3_s_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService as stand_ins

    modules: dict[str, dict[str, Any]] = {
        "wtforms": {
            "BooleanField": stand_ins.MockBooleanField,
            "IntegerField": stand_ins.MockIntegerField,
            "PasswordField": stand_ins.MockPasswordField,
            "StringField": stand_ins.MockStringField,
        },
        "wtforms.validators": {"Optional": stand_ins.MockOptional, "any_of": stand_ins.MockEnum},
        "flask_babel": {"lazy_gettext": str},
        "flask_appbuilder": {},
        "flask_appbuilder.fieldwidgets": {
            "BS3PasswordFieldWidget": stand_ins.MockAnyWidget,
            "BS3TextFieldWidget": stand_ins.MockAnyWidget,
        },
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)

    widgets = get_provider_info.connection_form_widgets()
    assert list(widgets) == list(CONN_FIELDS)
    for name, field in CONN_FIELDS.items():
        declared, made = field["schema"], widgets[name].param.dump()
        assert made["value"] == declared.get("default")
        assert made["schema"]["title"] == field["label"]
        assert made["schema"]["type"] == [declared["type"][0].replace("number", "integer"), "null"]
        assert made["schema"].get("enum") == declared.get("enum")
        assert made["schema"].get("format") == declared.get("format")


def test_reading_the_info_imports_nothing_else() -> None:
    # Airflow reads it in every process that it starts, whether or not the provider is used there.
    code = "import sys; before = set(sys.modules); import astronomer_remote.get_provider_info as g;"
    code += "g.get_provider_info(); print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name for name in done.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}
    assert imported == {"astronomer_remote", "astronomer_remote.get_provider_info"}
