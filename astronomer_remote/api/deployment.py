"""Everything that can be said to one remote deployment, as flows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astronomer_remote.api.conversation import Conversation
from astronomer_remote.api.dags import Dags
from astronomer_remote.api.dialects.base import Exchange
from astronomer_remote.api.errors import InvalidSettings
from astronomer_remote.api.models import Generation, Health, Version, plain_json
from astronomer_remote.api.observation import Observer
from astronomer_remote.api.pools import Pools
from astronomer_remote.api.runs import Runs
from astronomer_remote.api.settings import Settings
from astronomer_remote.api.wire import Flow, Request

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Deployment:
    """
    A remote deployment.

    :param settings: where it is and how to reach it.
    :param conversation: how to talk to it, if not in the default way.
    """

    def __init__(self, settings: Settings, conversation: Conversation | None = None) -> None:
        self.conversation = conversation or Conversation(settings)
        self.dags = Dags(self.conversation)
        self.runs = Runs(self.conversation, self.dags)
        self.pools = Pools(self.conversation)
        self.observer = Observer(self.conversation, self.runs)

    def version(self) -> Flow[tuple[Generation, Version | None]]:
        """Generation and version of the remote; 1.10 does not tell its version."""
        dialect = yield from self.conversation.dialect()
        return dialect.generation, dialect.version

    def health(self) -> Flow[Health]:
        """State of the remote's components."""
        dialect = yield from self.conversation.dialect()
        return (yield from self.conversation.ask(dialect.health()))

    def config(self) -> Flow[dict[str, dict[str, str]]]:
        """The remote's configuration by section and key, as far as it shows it."""
        dialect = yield from self.conversation.dialect()
        return (yield from self.conversation.ask(dialect.config()))

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int) -> Flow[Any]:
        """An XCom value of the remote."""
        dialect = yield from self.conversation.dialect()
        return (yield from self.conversation.ask(dialect.xcom(dag_id, run_id, task_id, key, map_index)))

    def call(self, method: str, endpoint: str, json: Any, params: Mapping[str, Any] | None) -> Flow[Any]:
        """
        Ask any endpoint of the remote's REST API.

        :return: the reply's JSON, ``None`` if it has no body.
        """
        if method.upper() not in METHODS:
            raise InvalidSettings(f"method={method!r} must be one of: {', '.join(METHODS)}.")
        dialect = yield from self.conversation.dialect()
        given = {name: value for name, value in (params or {}).items() if value is not None}
        request = Request(method.upper(), dialect.endpoint(endpoint), given, plain_json(json, "json"))
        return (yield from self.conversation.ask(Exchange(request, _as_is, f"call {request.method} {endpoint}")))


def _as_is(body: Any) -> Any:
    return body
