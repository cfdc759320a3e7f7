"""What the fakes of Airflow 2's and Airflow 3's REST APIs have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from astronomer_remote.testing.base import Api, Endpoint, Refused
from astronomer_remote.testing.contents import FakeDag, FakePool, FakeRun
from astronomer_remote.testing.server import RecordedRequest, Reply

GROWING = ("running", "deferred")
"""States of a task that writes into its log."""

FROM_LINE = "fake-line-"
"""The prefix of a token that continues a log from a line."""

MOST = 100
"""Items of a listing at most (``[api] maximum_page_limit``)."""

POOL_FIELDS = {"description": (2, 3), "include_deferred": (2, 7), "team_name": (3, 2)}
"""Fields of a pool besides its name and slots, and the versions that added them."""


class RestApi(Api):
    """Subclasses hold what differs."""

    prefix: str
    unreadable = 400
    """Status for an invalid body."""
    pool_created = 200
    usual_page = MOST
    stringifies = "true"
    """Whether the value of an XCom is its Python text by default."""

    def endpoints(self) -> Iterable[Endpoint]:
        run = "/dags/{}/dagRuns/{}"
        table: list[Endpoint] = [
            ("GET", "/dags", self.list_dags),
            ("GET", "/dags/{}", self.get_dag),
            ("PATCH", "/dags/{}", self.patch_dag),
            ("GET", "/dags/{}/tasks", self.list_tasks),
            ("GET", "/dags/{}/tasks/{}", self.get_task),
            ("GET", f"{run}/taskInstances", self.list_task_instances),
            ("GET", f"{run}/taskInstances/{{}}", self.get_task_instance),
            ("GET", f"{run}/taskInstances/{{}}/{{}}", self.get_mapped_task_instance),
            ("GET", f"{run}/taskInstances/{{}}/logs/{{}}", self.get_log),
            ("GET", f"{run}/taskInstances/{{}}/xcomEntries/{{}}", self.get_xcom),
            ("GET", "/importErrors", self.list_import_errors),
            ("GET", "/pools", self.list_pools),
            ("POST", "/pools", self.create_pool),
            ("GET", "/pools/{}", self.get_pool),
            ("PATCH", "/pools/{}", self.patch_pool),
            ("DELETE", "/pools/{}", self.delete_pool),
            ("GET", "/config", self.get_config),
        ]
        return self.below_prefix(table)

    def below_prefix(self, table: Iterable[Endpoint]) -> list[Endpoint]:
        return [(method, self.prefix + path, answer) for method, path, answer in table]

    # What differs between the two generations

    @abstractmethod
    def problem(self, status: int, detail: Any) -> Reply:
        """The form of an error."""

    def refuse(self, status: int, detail: Any) -> Refused:
        return Refused(self.problem(status, detail))

    def forbidden(self) -> Reply:
        return self.problem(403, "Forbidden")

    def missing(self, what: str) -> Reply:
        return self.problem(404, f"{what} not found")

    def pool_json(self, pool: FakePool) -> dict[str, Any]:
        """A pool as this version describes it."""
        open_slots = pool.slots - pool.occupied if pool.slots >= 0 else -1
        return {
            "name": pool.name,
            "slots": pool.slots,
            "occupied_slots": pool.occupied,
            "open_slots": open_slots,
            "queued_slots": 0,
            "running_slots": pool.occupied,
        }

    def exists(self, detail: str) -> Refused:
        """The reply for something that exists already."""
        return self.refuse(409, detail)

    # DAGs and tasks

    def list_dags(self, request: RecordedRequest) -> Reply:
        listed = [dag for dag in self.contents.dags.values() if not dag.is_stale]
        return self.page("dags", listed, self.dag_json, request)

    def get_dag(self, request: RecordedRequest, dag_id: str) -> Reply:
        return Reply(200, self.dag_json(self.dag(dag_id)))

    def patch_dag(self, request: RecordedRequest, dag_id: str) -> Reply:
        dag = self.dag(dag_id)
        dag.is_paused = request.json()["is_paused"]
        return Reply(200, self.dag_json(dag))

    def dag_json(self, dag: FakeDag) -> dict[str, Any]:
        body: dict[str, Any] = {
            "dag_id": dag.dag_id,
            "is_paused": dag.is_paused,
            "fileloc": f"/dags/{dag.dag_id}.py",
            "tags": [],
            "owners": ["airflow"],
            "description": None,
        }
        if self.version >= (2, 1):
            body |= {"is_stale": dag.is_stale} if self.version >= (3, 0) else {"is_active": not dag.is_stale}
        newer = {"has_import_errors": dag.has_import_errors, "max_active_runs": 16}
        return {**body, **newer} if self.version >= (2, 3) else body

    def list_tasks(self, request: RecordedRequest, dag_id: str) -> Reply:
        tasks = [self.task_json(task) for task in self.dag(dag_id).tasks]
        return Reply(200, {"tasks": tasks, "total_entries": len(tasks)})

    def get_task(self, request: RecordedRequest, dag_id: str, task_id: str) -> Reply:
        self.known_task(dag_id, task_id)
        return Reply(200, self.task_json(task_id))

    def task_json(self, task: str) -> dict[str, Any]:
        return {"task_id": task, "start_date": None, "end_date": None, "pool": "default_pool", "pool_slots": 1.0}

    def list_task_instances(self, request: RecordedRequest, dag_id: str, run_id: str) -> Reply:
        dag, run = self.run(dag_id, run_id)

        def as_json(instance: tuple[str, int]) -> dict[str, Any]:
            return self.task_instance_json(dag, run, *instance)

        states = request.query.get("state", [])
        found = [each for each in dag.instances() if not states or dag.instance_state(run, *each) in states]
        return self.page("task_instances", found, as_json, request)

    def get_task_instance(self, request: RecordedRequest, dag_id: str, run_id: str, task_id: str) -> Reply:
        dag, run = self.run(dag_id, run_id)
        indexes = [index for task, index in dag.instances() if task == task_id]
        if not indexes:
            raise Refused(self.missing("Task instance"))
        if indexes != [-1]:
            raise self.refuse(404, "Task instance is mapped, add the map_index value to the URL")
        return Reply(200, self.task_instance_json(dag, run, task_id))

    def get_mapped_task_instance(
        self, request: RecordedRequest, dag_id: str, run_id: str, task_id: str, index: str
    ) -> Reply:
        dag, run = self.run(dag_id, run_id)
        if (task_id, int(index)) not in dag.instances():
            raise Refused(self.missing("Task instance"))
        return Reply(200, self.task_instance_json(dag, run, task_id, int(index)))

    def task_instance_json(self, dag: FakeDag, run: FakeRun, task: str, index: int = -1) -> dict[str, Any]:
        body: dict[str, Any] = {
            "dag_id": dag.dag_id,
            "task_id": task,
            "state": dag.instance_state(run, task, index),
            "try_number": dag.try_number(run, task),
            "operator": "FakeOperator",
            "start_date": self.date(run.start_date),
            "end_date": self.date(run.task_end_dates.get(task) or run.end_date),
            "duration": run.seconds,
            "pool": "default_pool",
            "pool_slots": 1,
            **self.dates_of_run(run),
        }
        newer = {"dag_run_id": run.run_id, "map_index": index, "note": None}
        return {**body, **newer} if self.version >= (2, 3) else body

    def get_log(self, request: RecordedRequest, dag_id: str, run_id: str, task_id: str, try_number: str) -> Reply:
        dag, run = self.run(dag_id, run_id)
        index = int(request.query.get("map_index", ["-1"])[0])
        if (task_id, index) not in dag.instances():
            raise Refused(self.missing("TaskInstance"))
        grows = dag.instance_state(run, task_id, index) in GROWING
        return self.log_reply(request, run, dag.log(run, task_id, index), grows=grows)

    @abstractmethod
    def log_reply(self, request: RecordedRequest, run: FakeRun, lines: list[str], *, grows: bool) -> Reply:
        """A log as this generation returns it. :param grows: whether its task still writes."""

    def log_offset(self, request: RecordedRequest) -> int:
        """The line from which a token continues a log."""
        token = request.query.get("token", [f"{FROM_LINE}0"])[0]
        if not token.startswith(FROM_LINE):
            raise self.refuse(400, "Bad Signature. Please use only the tokens provided by the API.")
        return int(token.removeprefix(FROM_LINE))

    @abstractmethod
    def dates_of_run(self, run: FakeRun) -> dict[str, Any]:
        """The dates of its run that a task instance has."""

    def get_xcom(self, request: RecordedRequest, dag_id: str, run_id: str, task_id: str, key: str) -> Reply:
        dag, run = self.run(dag_id, run_id)
        index = int(request.query.get("map_index", ["-1"])[0])
        known = (task_id, index) in dag.instances() and dag.instance_state(run, task_id, index) == "success"
        if key != "return_value" or task_id not in dag.results or not known:
            raise Refused(self.missing("XCom entry"))
        as_text = request.query.get("stringify", [self.stringifies])[0] != "false"
        value = dag.results[task_id] if index < 0 else dag.results[task_id][index]
        body = {
            "key": key,
            "dag_id": dag_id,
            "task_id": task_id,
            "timestamp": self.date(run.end_date),
            "value": str(value) if as_text else value,
            **self.dates_of_run(run),
        }
        if not self.version >= (3, 1):
            body.pop("run_after", None)
        if self.version >= (2, 3):
            body["map_index"] = index
        if self.version >= (3,):
            body["run_id"] = run_id
        return Reply(200, body)

    def list_import_errors(self, request: RecordedRequest) -> Reply:
        def as_json(item: tuple[str, str]) -> dict[str, Any]:
            return {"filename": item[0], "stack_trace": item[1]}

        return self.page("import_errors", list(self.contents.import_errors.items()), as_json, request)

    # Pools

    def list_pools(self, request: RecordedRequest) -> Reply:
        return self.page("pools", list(self.contents.pools.values()), self.pool_json, request)

    def get_pool(self, request: RecordedRequest, name: str) -> Reply:
        return Reply(200, self.pool_json(self.pool(name)))

    def create_pool(self, request: RecordedRequest) -> Reply:
        body = request.json()
        if not isinstance(body.get("slots"), int) or "name" not in body:
            raise self.refuse(self.unreadable, "Missing required property(ies): name, slots")
        self.check_pool_fields(body, {"name"})
        if body["name"] in self.contents.pools:
            raise self.exists(f"Pool: {body['name']} already exists")
        pool = FakePool(body["name"], body["slots"])
        self.contents.pools[pool.name] = pool
        self.change_pool(pool, body, POOL_FIELDS)
        return Reply(self.pool_created, self.pool_json(pool))

    def check_pool_fields(self, body: Mapping[str, Any], known: Collection[str]) -> None:
        """:raises Refused: if a body has a field that this version does not know."""
        fields = {field for field, version in POOL_FIELDS.items() if self.version >= version}
        unknown = set(body) - fields - {"slots", *known}
        if unknown:
            raise self.refuse(self.unreadable, f"Unknown field(s): {', '.join(sorted(unknown))}")

    @abstractmethod
    def patch_pool(self, request: RecordedRequest, name: str) -> Reply:
        """Change a pool."""

    def change_pool(self, pool: FakePool, body: Mapping[str, Any], fields: Iterable[str]) -> None:
        """Take over fields of a body; a text that is null is empty."""
        for field in fields:
            if field in body:
                setattr(pool, field, body[field] if body[field] is not None else "")

    def delete_pool(self, request: RecordedRequest, name: str) -> Reply:
        self.pool(name)
        if name == "default_pool":
            raise self.refuse(400, "Default Pool can't be deleted")
        del self.contents.pools[name]
        return Reply(204)

    # The deployment itself

    def get_config(self, request: RecordedRequest) -> Reply:
        if self.contents.config is None:
            raise self.refuse(403, "Your Airflow administrator chose not to expose the configuration")
        sections = [
            {"name": name, "options": [{"key": key, "value": value} for key, value in options.items()]}
            for name, options in self.contents.config.items()
        ]
        return Reply(200, {"sections": sections})

    def page(
        self, name: str, items: list[Any], as_json: Callable[[Any], dict[str, Any]], request: RecordedRequest
    ) -> Reply:
        """Part of a listing."""
        offset = int(request.query.get("offset", ["0"])[0])
        limit = min(int(request.query.get("limit", [str(self.usual_page)])[0]), MOST)
        return Reply(200, {name: [as_json(item) for item in items[offset:][:limit]], "total_entries": len(items)})
