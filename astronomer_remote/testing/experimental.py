"""The fake of Airflow 1.10's experimental API."""

from __future__ import annotations

from collections.abc import Iterable

from astronomer_remote.testing.contents import FakePool, FakeRun, now
from astronomer_remote.testing.server import Answer, Asked
from astronomer_remote.testing.speaker import BROKEN, Endpoint, Refused, Speaker, moment

POOL = {"pool": "default_pool", "pool_slots": 1}


class ExperimentalSpeaker(Speaker):
    """Knows runs by their dates, and wants no login unless a gateway before it does."""

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

    def missing(self, what: str) -> Answer:
        return Answer(404, {"error": f"{what} not found"})

    def test(self, asked: Asked) -> Answer:
        return Answer(200, {"status": "OK"})

    # Runs

    def trigger(self, asked: Asked, dag_id: str) -> Answer:
        dag, body = self.dag(dag_id), asked.json()
        given = body.get("execution_date")
        cut = body.get("replace_microseconds", "true" if not given else "false") == "true"
        date = moment(given) if given else now()
        date = date.replace(microsecond=0) if cut else date
        run_id = body.get("run_id") or f"manual__{date.isoformat()}"
        if run_id in dag.runs:
            return Answer(400, {"error": f"Run id {run_id} already exists for dag id {dag_id}"})
        if any(run.logical_date == date for run in dag.runs.values()):
            return BROKEN
        run = self.add_run(
            FakeRun(dag_id, run_id, self.first_state, conf=dict(body.get("conf") or {}), logical_date=date)
        )
        message = f"Created <DagRun {dag_id} @ {self.date(date)}: {run_id}, externally triggered: True>"
        return Answer(200, {"execution_date": self.date(run.logical_date), "message": message, "run_id": run_id})

    def list_runs(self, asked: Asked, dag_id: str) -> Answer:
        dag = self.contents.dags.get(dag_id)
        if dag is None:
            return Answer(400, {"error": f"Dag id {dag_id} not found"})
        listed = [dag.look(run) for run in dag.runs.values()]
        return Answer(
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

    def get_run(self, asked: Asked, dag_id: str, date: str) -> Answer:
        dag = self.dag(dag_id)
        return Answer(200, {"state": dag.look(self.run_of(dag_id, date)).state})

    def run_of(self, dag_id: str, date: str) -> FakeRun:
        """The run of a date."""
        wanted = moment(date)
        for run in self.dag(dag_id).runs.values():
            if run.logical_date == wanted:
                return run
        raise Refused(self.missing(f"Dag Run for date {date} in dag {dag_id}"))

    # DAGs and tasks

    def get_task(self, asked: Asked, dag_id: str, task_id: str) -> Answer:
        self.known_task(dag_id, task_id)
        facts = {"task_id": task_id, "owner": "airflow", "start_date": None, "end_date": None, **POOL}
        return Answer(200, {name: str(value) for name, value in facts.items()})

    def get_task_instance(self, asked: Asked, dag_id: str, date: str, task_id: str) -> Answer:
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
        return Answer(200, {name: str(value) for name, value in facts.items()})

    def get_paused(self, asked: Asked, dag_id: str) -> Answer:
        dag = self.contents.dags.get(dag_id)
        return Answer(200, {"is_paused": dag.is_paused}) if dag else BROKEN

    def set_paused(self, asked: Asked, dag_id: str, paused: str) -> Answer:
        dag = self.contents.dags.get(dag_id)
        if dag is None:
            return BROKEN
        dag.is_paused = paused == "true"
        return Answer(200, {"response": "ok"})

    # Pools

    def list_pools(self, asked: Asked) -> Answer:
        return Answer(200, [self.tell_pool(pool) for pool in self.contents.pools.values()])

    def get_pool(self, asked: Asked, name: str) -> Answer:
        return Answer(200, self.tell_pool(self.pool(name)))

    def write_pool(self, asked: Asked) -> Answer:
        body = asked.json()
        if "description" not in body:
            return BROKEN
        if not body["name"]:
            return Answer(400, {"error": "Pool name shouldn't be empty"})
        pool = FakePool(body["name"], int(body["slots"]), body["description"])
        self.contents.pools[pool.name] = pool
        return Answer(200, self.tell_pool(pool))

    def delete_pool(self, asked: Asked, name: str) -> Answer:
        pool = self.pool(name)
        if name == "default_pool":
            return Answer(400, {"error": "default_pool cannot be deleted"})
        told = self.tell_pool(pool)
        del self.contents.pools[name]
        return Answer(200, told)

    def tell_pool(self, pool: FakePool) -> dict[str, object]:
        number = list(self.contents.pools).index(pool.name)
        return {"id": number + 1, "pool": pool.name, "slots": pool.slots, "description": pool.description}
