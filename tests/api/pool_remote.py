"""The pools of a remote, with the traps of each version's endpoints as they stand in Airflow's source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

from astronomer_remote.api.protocol.flow import Flow, Request, Response, TransportError
from astronomer_remote.api.protocol.models import Generation
from tests.api.script import Remote, answer, ok, plain

T = TypeVar("T")

Reply = Response | TransportError

DEFAULT = {"slots": 128, "description": "Default pool", "include_deferred": False}


class PoolRemote(Remote):
    """
    A remote that keeps pools.

    :param version: version of Airflow.
    :param pools: slots, or fields, by name, besides ``default_pool``.
    """

    def __init__(self, version: str, pools: Mapping[str, Any] | None = None) -> None:
        super().__init__(version=version)
        self.numbers = self.speech.numbers
        self.pools: dict[str, dict[str, Any]] = {}
        for name, given in {"default_pool": DEFAULT, **(pools or {})}.items():
            fields = given if isinstance(given, Mapping) else {"slots": given}
            self.pools[name] = {"description": None, "include_deferred": False, "occupied_slots": 0, **fields}
        self.meddle: Callable[[Request], Reply | None] = lambda request: None
        """Called before each request; what it returns is answered instead, and ``None`` lets the request through."""
        self.lose: Callable[[Request], bool] = lambda request: False
        """Whether the reply of a request that was carried out is lost."""

    def run(self, flow: Flow[T]) -> T:
        """Carry out a flow."""
        return self.carry_out(flow, self._answer)

    def asked(self) -> list[str]:
        """Verbs of the requests so far."""
        return [request.method for request in self.requests]

    def sizes(self) -> dict[str, int]:
        """Slots by name."""
        return {name: pool["slots"] for name, pool in self.pools.items()}

    def _answer(self, request: Request) -> Reply:
        instead = self.meddle(request)
        if instead is not None:
            return instead
        reply = self._carry_out(request)
        return TransportError("RemoteDisconnected") if self.lose(request) else reply

    def _carry_out(self, request: Request) -> Response:
        parts = request.path.removeprefix(self.speech.base).split("/")
        assert parts[:2] == ["", "pools"], request
        name = unquote("/".join(parts[2:])) if len(parts) > 2 else None
        if name is not None and "/" in name and self.numbers < (3,):
            return plain(404, "not found")
        if name is None:
            many = {"GET": self._list, "POST": self._create, "PATCH": self._bulk}
            return many[request.method](request)
        if name not in self.pools:
            return answer(404, {"detail": f"Pool with name:'{name}' not found"})
        return {"GET": self._get, "PATCH": self._patch, "DELETE": self._delete}[request.method](request, name)

    def _list(self, request: Request) -> Response:
        if self.speech.experimental:
            return ok([self._tell(name) for name in self.pools])
        limit, offset = int(request.query["limit"]), int(request.query["offset"])
        assert limit <= 100
        lines = [self._tell(name) for name in [*self.pools][offset:][:limit]]
        return ok({"pools": lines, "total_entries": len(self.pools)})

    def _get(self, _: Request, name: str) -> Response:
        return ok(self._tell(name))

    def _create(self, request: Request) -> Response:
        body = dict(request.body)
        name = body.pop("name")
        known = {"slots"} | self._known()
        assert set(body) <= known, body
        if self.speech.experimental:
            assert set(body) == {"slots", "description"}
            self.pools[name] = {**self._empty(), **body}
            return ok(self._tell(name))
        if name in self.pools:
            return answer(409, {"detail": f"Pool: {name} already exists"})
        self.pools[name] = {**self._empty(), **body}
        return answer(201 if self.speech.generation is Generation.V2 else 200, self._tell(name))

    def _patch(self, request: Request, name: str) -> Response:
        assert not self.speech.experimental
        body = dict(request.body)
        if self.speech.generation is Generation.V1:
            mask: Iterable[str] = request.query["update_mask"].split(",")
            assert set(mask) <= set(body), "2.x breaks on a mask that names what the body lacks"
            assert set(body) <= {"name", "slots"} | self._known()
        else:
            mask = request.query["update_mask"]
            if name == "default_pool" and not set(mask) <= {"slots", "include_deferred"}:
                return answer(400, {"detail": "Only slots and included_deferred can be modified on Default Pool"})
            if self.numbers >= (3, 3) and not {"pool", "slots", "include_deferred"} <= set(body):
                return answer(422, {"detail": [{"loc": ["body"], "msg": "Field required"}]})
            assert body["pool"] == name
        self.pools[name].update({field: body[field] for field in mask})
        return ok(self._tell(name))

    def _delete(self, _: Request, name: str) -> Response:
        if name == "default_pool":
            return answer(400, {"detail": "Default Pool can't be deleted"})
        lines = self._tell(name)
        del self.pools[name]
        return ok(lines) if self.speech.experimental else Response(204)

    # Airflow 3's bulk endpoint, which does not know that default_pool is special

    def _bulk(self, request: Request) -> Response:
        assert self.speech.generation is Generation.V2
        results: dict[str, Any] = {"create": None, "update": None, "delete": None}
        for action in request.body["actions"]:
            kind = action["action"]
            results[kind] = results[kind] or {"success": [], "errors": []}
            handle = {"create": self._bulk_create, "update": self._bulk_update, "delete": self._bulk_delete}
            handle[kind](action, **results[kind])
        return ok(results)

    def _bulk_create(self, action: Any, success: list[str], errors: list[Any]) -> None:
        names = {entity["name"] for entity in action["entities"]}
        if action["action_on_existence"] == "fail" and names & set(self.pools):
            errors.append({"error": f"The pools with these pool names: {names} already exist.", "status_code": 409})
            return
        for entity in action["entities"]:
            if entity["name"] not in self.pools:
                fields = dict(entity)
                self.pools[fields.pop("name")] = {**self._empty(), **fields}
                success.append(entity["name"])

    def _bulk_update(self, action: Any, success: list[str], errors: list[Any]) -> None:
        mask = action.get("update_mask")
        assert mask is None or self.numbers >= (3, 2), "unknown before"
        for entity in action["entities"]:
            fields = dict(entity)
            name = fields.pop("name")
            if name not in self.pools:
                continue
            if self.numbers >= (3, 2) and name == "default_pool" and not set(mask) <= {"slots", "include_deferred"}:
                errors.append({"error": "Only slots and included_deferred can be modified", "status_code": 400})
                continue
            assert "include_deferred" in fields
            chosen = {key: value for key, value in fields.items() if mask is None or key in mask}
            self.pools[name].update(chosen)
            success.append(name)

    def _bulk_delete(self, action: Any, success: list[str], errors: list[Any]) -> None:
        for name in action["entities"]:
            if name in self.pools:
                del self.pools[name]
                success.append(name)

    def _known(self) -> set[str]:
        """Fields of a pool that this version has, besides its name and slots."""
        since = {"description": (2, 3), "include_deferred": (2, 7), "team_name": (3, 2)}
        known = {field for field, version in since.items() if self.numbers >= version}
        return {"description"} if self.speech.experimental else known

    def _empty(self) -> dict[str, Any]:
        return {"description": None, "include_deferred": False, "occupied_slots": 0}

    def _tell(self, name: str) -> dict[str, Any]:
        pool = self.pools[name]
        known = {field: pool.get(field) for field in self._known()}
        if self.speech.experimental:
            return {"id": 1, "pool": name, "slots": pool["slots"], **known}
        occupied = pool["occupied_slots"]
        open_slots = pool["slots"] - occupied if pool["slots"] >= 0 else -1
        return {"name": name, "slots": pool["slots"], "occupied_slots": occupied, "open_slots": open_slots, **known}


def at(method: str, *, first: int = 1) -> Callable[[Request], bool]:
    """Whether a request is one of the first of a verb."""
    left = [first]

    def matches(request: Request) -> bool:
        if request.method != method or left[0] == 0:
            return False
        left[0] -= 1
        return True

    return matches
