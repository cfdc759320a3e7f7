"""A token or key that is sent as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from astronomer_remote.api.protocol.auth import Authentication, Credentials, refused_by_gateway
from astronomer_remote.api.protocol.flow import Response


class AnyToken(Authentication):
    """A token or key of a kind that is not known: an Astro API token, else a key of Astronomer Software."""

    needs = ("password",)
    forms: ClassVar[tuple[Callable[[str], str], ...]] = ("Bearer {}".format, str)
    """Forms of the ``Authorization`` header, tried in order until one is accepted: an Astro API token is sent as
    ``Bearer``, while Astronomer Software's service accounts need the bare key."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._values = [form(credentials.password or "") for form in self.forms]

    @property
    def label(self) -> str:
        return "the connection's token or key"

    def advice(self, status: int) -> str:
        return "Check the connection's password and authentication; it may have expired or been deleted."

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": self._values[0]}

    def refused(self, response: Response) -> bool:
        return refused_by_gateway(response)

    def refresh(self) -> bool:
        if len(self._values) == 1:
            return False
        self._values.pop(0)
        return True


class SoftwareApiKey(AnyToken):
    """The key of a service account of Astronomer Software."""

    forms = (str,)
