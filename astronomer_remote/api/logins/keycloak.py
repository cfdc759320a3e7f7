"""A client of Keycloak, for Airflow 3 with the Keycloak auth manager."""

from __future__ import annotations

from astronomer_remote.api.logins.airflow_login import AirflowLogin
from astronomer_remote.api.protocol.auth import Credentials


class KeycloakClient(AirflowLogin):
    """
    The client id in ``login`` and its secret in ``password``.

    Airflow forwards them to Keycloak and returns a token of its own
    (``airflow.providers.keycloak.auth_manager.routes.token``). It accepts only the client that it is configured with.
    """

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._body = {
            "grant_type": "client_credentials",
            "client_id": credentials.login,
            "client_secret": credentials.password,
        }

    @property
    def label(self) -> str:
        return f"the token that Airflow issued for the client {self.credentials.login!r}"

    def advice(self, status: int) -> str:
        return "Check the service account of this client in Keycloak."
