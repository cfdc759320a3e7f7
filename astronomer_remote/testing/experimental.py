"""The fake of Airflow 1.10's experimental API."""

from __future__ import annotations

from collections.abc import Iterable

from astronomer_remote.testing.base import BROKEN, Api, Endpoint, Refused, moment
from astronomer_remote.testing.contents import FakePool, FakeRun
from astronomer_remote.testing.server import RecordedRequest, Reply

POOL = {"pool": "default_pool", "pool_slots": 1}


class ExperimentalApi(Api):
    """Knows runs by their dates, and needs no login."""

    first_state = "running"

    def open_endpoints(self) -> Iterable[Endpoint]:
        return [("GET", "/health", self.health), ("GET", "/api/experimental/test", self.test)]

    def endpoints(self) -> Iterable[Endpoint]:
        own = "/api/experimental"
        return [
            ("POST", f"{own}/dags/{{}}/dag_runs", self.trigger),
            ("GET", f"{own}/dags/{{}}/dag_runs", self.list_runs),
            ("GET", f"{own}/dags/{{}}/dag_runs/{{}}", self.get_run),
            ("GET", f"{own}/dags/{{}}/dag_runs/{{}}/tasks/{{}}", self.get_task_instance),
            ("GET", f"{own}/dags/{{}}/tasks/{{}}", self.get_task),
            ("GET", f"{own}/dags/{{}}/paused", self.get_paused),
            ("GET", f"{own}/dags/{{}}/paused/{{}}", self.set_paused),
            ("GET", f"{own}/pools", self.list_pools),
            ("POST", f"{own}/pools", self.write_pool),
            ("GET", f"{own}/pools/{{}}", self.get_pool),
            ("DELETE", f"{own}/pools/{{}}", self.delete_pool),
        ]

    def missing(self, what: str) -> Reply:
        return Reply(404, {"error": f"{what} not found"})

    def test(self, request: RecordedRequest) -> Reply:
        return Reply(200, {"status": "OK"})

    # Runs

    def trigger(self, request: RecordedRequest, dag_id: str) -> Reply:
        dag, body = self.dag(dag_id), request.json()
        given = body.get("execution_date")
        cut = body.get("replace_microseconds", "true" if not given else "false") == "true"
        date = moment(given) if given else self.contents.now()
        date = date.replace(microsecond=0) if cut else date
        run_id = body.get("run_id") or f"manual__{date.isoformat()}"
        if run_id in dag.runs:
            return Reply(400, {"error": f"Run id {run_id} already exists for dag id {dag_id}"})
        if any(run.logical_date == date for run in dag.runs.values()):
            return BROKEN
        run = self.add_run(
            FakeRun(
                dag_id,
                run_id,
                self.first_state,
                self.contents.now(),
                conf=dict(body.get("conf") or {}),
                logical_date=date,
            )
        )
        message = f"Created <DagRun {dag_id} @ {self.date(date)}: {run_id}, externally triggered: True>"
        return Reply(200, {"execution_date": self.date(run.logical_date), "message": message, "run_id": run_id})

    def list_runs(self, request: RecordedRequest, dag_id: str) -> Reply:
        dag = self.contents.dags.get(dag_id)
        if dag is None:
            return Reply(400, {"error": f"Dag id {dag_id} not found"})
        now = self.contents.now()
        listed = [dag.read(run, now) for run in dag.runs.values()]
        return Reply(
            200,
            [
                {
                    "id": number,
                    "run_id": run.run_id,
                    "state": run.state,
                    "dag_id": dag_id,
                    "execution_date": self.date(run.logical_date),
                    "start_date": self.date(run.start_date) or "",
                    "dag_run_url": f"/graph?dag_id={dag_id}",
                }
                for number, run in enumerate(listed, start=1)
            ],
        )

    def get_run(self, request: RecordedRequest, dag_id: str, date: str) -> Reply:
        dag = self.dag(dag_id)
        return Reply(200, {"state": dag.read(self.run_of(dag_id, date), self.contents.now()).state})

    def run_of(self, dag_id: str, date: str) -> FakeRun:
        """The run of a date."""
        target = moment(date)
        for run in self.dag(dag_id).runs.values():
            if run.logical_date == target:
                return run
        raise Refused(self.missing(f"Dag Run for date {date} in dag {dag_id}"))

    # DAGs and tasks

    def get_task(self, request: RecordedRequest, dag_id: str, task_id: str) -> Reply:
        self.known_task(dag_id, task_id)
        facts = {"task_id": task_id, "owner": "airflow", "start_date": None, "end_date": None, **POOL}
        return Reply(200, {name: str(value) for name, value in facts.items()})

    def get_task_instance(self, request: RecordedRequest, dag_id: str, date: str, task_id: str) -> Reply:
        dag = self.known_task(dag_id, task_id)
        run = self.run_of(dag_id, date)
        facts = {
            "task_id": task_id,
            "dag_id": dag_id,
            "execution_date": self.date(run.logical_date),
            "state": dag.task_state(run, task_id),
            "operator": "FakeOperator",
            "start_date": run.start_date,
            "end_date": run.end_date,
            "duration": run.seconds,
            **POOL,
        }
        # Every value comes as text.
        return Reply(200, {name: str(value) for name, value in facts.items()})

    def get_paused(self, request: RecordedRequest, dag_id: str) -> Reply:
        dag = self.contents.dags.get(dag_id)
        return Reply(200, {"is_paused": dag.is_paused}) if dag else BROKEN

    def set_paused(self, request: RecordedRequest, dag_id: str, paused: str) -> Reply:
        dag = self.contents.dags.get(dag_id)
        if dag is None:
            return BROKEN
        dag.is_paused = paused == "true"
        return Reply(200, {"response": "ok"})

    # Pools

    def list_pools(self, request: RecordedRequest) -> Reply:
        return Reply(200, [self.pool_json(pool) for pool in self.contents.pools.values()])

    def get_pool(self, request: RecordedRequest, name: str) -> Reply:
        return Reply(200, self.pool_json(self.pool(name)))

    def write_pool(self, request: RecordedRequest) -> Reply:
        body = request.json()
        if "description" not in body:
            return BROKEN
        if not body["name"]:
            return Reply(400, {"error": "Pool name shouldn't be empty"})
        pool = FakePool(body["name"], int(body["slots"]), body["description"])
        self.contents.pools[pool.name] = pool
        return Reply(200, self.pool_json(pool))

    def delete_pool(self, request: RecordedRequest, name: str) -> Reply:
        pool = self.pool(name)
        if name == "default_pool":
            return Reply(400, {"error": "default_pool cannot be deleted"})
        body = self.pool_json(pool)
        del self.contents.pools[name]
        return Reply(200, body)

    def pool_json(self, pool: FakePool) -> dict[str, object]:
        number = list(self.contents.pools).index(pool.name)
        return {"id": number + 1, "pool": pool.name, "slots": pool.slots, "description": pool.description}
