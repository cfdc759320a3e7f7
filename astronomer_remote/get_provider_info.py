"""
The provider info, with the connection form.

Airflow reads the form in two shapes: 3.2 and later from the provider info, without importing the hook;
2.11 to 3.1 from two class methods of the hook that build wtforms fields. Both shapes are made from `FIELDS`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any, NamedTuple

CONNECTION_TYPE = "astronomer"
HOOK_NAME = "Astronomer Deployment"
INTEGRATION = "Astronomer"


class Field(NamedTuple):
    """One key of a connection's extra: its name, label, description, type and check."""

    name: str
    label: str
    description: str
    type: str = "string"
    default: Any = None
    choices: tuple[str, ...] = ()
    secret: bool = False


FIELDS = (
    Field(
        name="auth",
        label="Authentication",
        description="How to log in. 'auto' decides by the fields that are filled in and by the replies.",
        default="auto",
        choices=(
            "auto",
            "astro_token",
            "software_api_key",
            "basic",
            "airflow_login",
            "oauth2",
            "keycloak_client",
            "mwaa",
            "composer",
            "none",
        ),
    ),
    Field(
        name="token_url",
        label="Token URL",
        description="OAuth2: URL of the token endpoint. User name and password are the client id and its secret.",
    ),
    Field(name="scope", label="Scope", description="OAuth2: scopes to request, separated by spaces."),
    Field(name="audience", label="Audience", description="OAuth2: audience to request, if the server requires one."),
    Field(
        name="client_auth",
        label="Client authentication",
        description="OAuth2: how the client id and secret are sent, as Basic authentication or in the body.",
        default="basic",
        choices=("basic", "body"),
    ),
    Field(
        name="astro_organization_id",
        label="Astro Organization ID",
        description="Astro: id of the Organization, to read the Deployment's URL and status from the Astro API.",
    ),
    Field(
        name="astro_deployment",
        label="Astro Deployment",
        description="Astro: name or id of the Deployment. With it, the Deployment URL may be left empty.",
    ),
    Field(
        name="wake",
        label="Wake the Deployment",
        description="Astro: wake the Deployment if it hibernates, and wait for it.",
        type="boolean",
        default=False,
    ),
    Field(
        name="mwaa_environment",
        label="MWAA environment",
        description="Amazon MWAA: name of the environment. With it, the Deployment URL may be left empty.",
    ),
    Field(
        name="aws_region",
        label="AWS region",
        description="Amazon MWAA: region of the environment, if boto3 does not find it.",
    ),
    Field(
        name="aws_profile",
        label="AWS profile",
        description="Amazon MWAA: profile in the AWS configuration of workers and triggerer.",
    ),
    Field(name="aws_role_arn", label="AWS role ARN", description="Amazon MWAA: role to assume."),
    Field(
        name="composer_environment",
        label="Composer environment",
        description="Composer: projects/.../locations/.../environments/... With it, the Deployment URL may be empty.",
    ),
    Field(
        name="google_key_file",
        label="Google key file",
        description="Composer: path (workers, triggerer) of a service account's JSON key, if google-auth finds none.",
    ),
    Field(
        name="api",
        label="Airflow API",
        description="Airflow 1.10: 'experimental', 2: 'v1', 3: 'v2'. 'auto' finds out and remembers.",
        default="auto",
        choices=("auto", "experimental", "v1", "v2"),
    ),
    Field(
        name="read_only",
        label="Read only",
        description="Refuse everything that changes something in the Deployment, before it is sent.",
        type="boolean",
        default=False,
    ),
    Field(
        name="connect_timeout",
        label="Connect timeout (seconds)",
        description="How long to wait for the Deployment to accept a connection.",
        type="number",
        default=10,
    ),
    Field(
        name="read_timeout",
        label="Read timeout (seconds)",
        description="How long to wait for the Deployment to send the next piece of a reply.",
        type="number",
        default=30,
    ),
    Field(
        name="verify",
        label="Verify TLS certificate",
        description="Never off in production: for a private authority, name its certificates below.",
        type="boolean",
        default=True,
    ),
    Field(
        name="ca_file",
        label="CA file",
        description="Path (workers and triggerer) of the certificates to trust instead of the system's.",
    ),
    Field(
        name="client_certificate",
        label="Client certificate",
        description="Path of a PEM file with the certificate to show to the Deployment.",
    ),
    Field(
        name="client_key_file",
        label="Client key file",
        description="Path of a PEM file with the certificate's key, if it is not in the certificate's file.",
    ),
    Field(
        name="proxy",
        label="Proxy",
        description="URL of the proxy that leads to the Deployment, e.g. http://proxy.example.com:3128.",
    ),
    Field(
        name="openlineage_namespace",
        label="OpenLineage namespace",
        description="[openlineage] namespace of the Deployment: connects tasks here with runs there, see Lineage.",
    ),
    Field(
        # Airflow masks an extra by its name, so the name has to contain a word that it knows.
        name="secret_headers",
        label="Extra headers",
        description='Headers to send with each request, as a JSON object, e.g. {"X-Gateway-Key": "..."}.',
        secret=True,
    ),
)

# The URL contains the scheme, so the form has no field for it. It contains the port, too, but Airflow 3.3.1 and 3.3.2
# do not test a connection that is stored without one: "Bad Request". The extra is shown although each of its keys has a
# field of its own: without it, the Test button of Airflow 2.11 does nothing.
HIDDEN = ["schema"]
RELABELING = {
    "host": "Deployment URL",
    "port": "Port",
    "login": "User name",
    "password": "Password, API token or API key",
}
PLACEHOLDERS = {
    "host": "https://deployments.example.com/my-release/airflow",
    "port": "empty, or as in the URL; Test in Airflow 3.3.1 and 3.3.2 needs it",
    "login": "empty for an API token or key",
}


def get_provider_info() -> dict[str, Any]:
    """The provider info, for the entry point `apache_airflow_provider`."""
    return {
        "package-name": "airflow-provider-astronomer-remote",
        "name": "Astronomer Remote",
        "description": "Trigger, watch and manage work in another Airflow deployment.",
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://www.astronomer.io/docs/",
                "tags": ["service"],
            }
        ],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": "astronomer_remote.hooks.astronomer.AstronomerHook",
                "hook-name": HOOK_NAME,
                "ui-field-behaviour": {
                    "hidden-fields": HIDDEN,
                    "relabeling": RELABELING,
                    "placeholders": PLACEHOLDERS,
                },
                "conn-fields": {field.name: _conn_field(field) for field in FIELDS},
            }
        ],
        "hooks": _modules("hooks.astronomer"),
        "operators": _modules(
            "operators.dag_run", "operators.dag", "operators.pool", "operators.pool_loan", "operators.asset"
        ),
        "sensors": _modules("sensors.dag_run", "sensors.pool", "sensors.asset"),
        "triggers": _modules("triggers.wait", "triggers.pool", "triggers.asset", "triggers.event"),
        "config": {
            "astronomer_remote": {
                "description": "Settings of Astronomer Remote.",
                "options": {
                    "ui_page": {
                        "description": "Whether the UI has the page of remote deployments (Airflow 3.1 and later).",
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "True",
                    }
                },
            }
        },
        # Taken by Airflow 3.2 and later; earlier ones have the console script.
        "cli": ["astronomer_remote.cli.airflow_commands.get_commands"],
        # Airflow 2 follows a stored link only to classes that are named here.
        "extra-links": ["astronomer_remote.links.RemoteDagRunLink"],
    }


def ui_field_behaviour() -> dict[str, Any]:
    """The hook's `get_ui_field_behaviour`, for Airflow 2.11 to 3.1."""
    return {"hidden_fields": HIDDEN, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}


def connection_form_widgets() -> dict[str, Any]:
    """The hook's `get_connection_form_widgets`, for Airflow 2.11 to 3.1."""
    # Airflow 3 mocks these names in these modules while it calls this, so nothing may be imported earlier, by another
    # path, or beyond these names. If they are missing, Airflow expects the ImportError.
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import BooleanField, IntegerField, PasswordField, StringField
    from wtforms.validators import Optional, any_of

    def widget(field: Field) -> Any:
        label = lazy_gettext(field.label)
        if field.type == "boolean":
            return BooleanField(label, description=field.description, default=field.default)
        description, validators = field.description, [Optional()]
        if field.choices:
            choices = _choices(field)
            # Airflow 2 has no drop-down list, only a text box.
            description = f"{description} One of: {', '.join(choices)}."
            validators.append(any_of(choices))
        arguments = {"description": description, "default": field.default, "validators": validators}
        if field.secret:
            return PasswordField(label, widget=BS3PasswordFieldWidget(), **arguments)
        # This form has no field for fractions of a second; JSON, URIs and the newer form accept them.
        kind = IntegerField if field.type == "number" else StringField
        return kind(label, widget=BS3TextFieldWidget(), **arguments)

    return {field.name: widget(field) for field in FIELDS}


def _conn_field(field: Field) -> dict[str, Any]:
    # Nullable, since the form stores null for an empty field.
    schema: dict[str, Any] = {"type": [field.type, "null"]}
    if field.default is not None:
        schema["default"] = field.default
    if field.choices:
        schema["enum"] = _choices(field)
    if field.type == "number":
        schema.update(minimum=1, maximum=3600)
    if field.secret:
        schema["format"] = "password"
    return {"label": field.label, "description": field.description, "schema": schema}


def _choices(field: Field) -> list[str]:
    """The choices of a field; for the authentication, with the logins that other packages bring."""
    return list(dict.fromkeys((*field.choices, *(_further_logins() if field.name == "auth" else ()))))


@cache
def _further_logins() -> tuple[str, ...]:
    """Read once, as Airflow may call :func:`get_provider_info` several times. ``auth`` is compared in lower case."""
    names = entry_points(group="astronomer_remote.auth").names
    return tuple(sorted(name for name in names if name == name.lower()))


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": INTEGRATION, "python-modules": [f"astronomer_remote.{name}" for name in names]}]
