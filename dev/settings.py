"""The environment variables that make an Airflow of any version small, quick, local and predictable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dev.loopback import without_proxy
from dev.versions import Release

# These secrets are constants made for throw-away deployments on the loopback interface. They protect nothing.
FERNET_KEY = "dGhyb3ctYXdheS1kZXYtZGVwbG95bWVudC1rZXktMDE="
SECRET = "throw-away secret of a development deployment; long enough for HMAC with SHA-512"  # noqa: S105
# Airflow 2 refuses to run tasks in parallel on SQLite; from this version on, unless this is set.
# With write-ahead logging it works well, and twice as fast, since no task waits for a new interpreter.
LOCAL_EXECUTOR_SINCE = (2, 6)
LOCAL_EXECUTOR_ON_SQLITE = "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK"
FAB_AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
PASSWORDS_FILE = "simple_auth_manager_passwords.json"
DATABASE_FILE = "airflow.db"
DATABASE_VARIABLE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"  # since Airflow 2.3

# Role -> (user name, password).
Users = Mapping[str, tuple[str, str]]
# Airflow masks the password of a connection wherever a log has it, inside a word too: with the password "admin",
# "administrator" becomes "***istrator". No text has these passwords by chance.
DEFAULT_USERS: dict[str, tuple[str, str]] = {
    role: (role, f"{role}-password") for role in ("admin", "viewer", "user", "op")
}


@dataclass(frozen=True)
class Place:
    """Where one deployment lives and how it is reached."""

    environment: Path
    home: Path
    dags: Path
    port: int
    host: str = "127.0.0.1"
    path: str = ""

    @property
    def url(self) -> str:
        """The base of its web UI and API."""
        return f"http://{self.host}:{self.port}{self.path}"


def settings(
    version: Release, place: Place, users: Users, auth_manager: str | None, extra: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment for a process of this deployment; `extra` wins over everything."""
    options = _common(version, place)
    if version.generation == "v2":
        options |= _airflow_3(place, users, auth_manager)
    elif version.generation == "v1":
        options |= _airflow_2(version, place)
    else:
        options |= _airflow_1(place)
    named = {f"AIRFLOW__{name.upper()}": value for name, value in options.items()}
    fixed = {"AIRFLOW_HOME": str(place.home), LOCAL_EXECUTOR_ON_SQLITE: "1"}
    return _clean_environment(place.environment) | fixed | named | dict(extra)


def _clean_environment(environment: Path) -> dict[str, str]:
    """Return this process's environment without what would leak another Airflow's or Python's settings."""
    prefixes = ("AIRFLOW", "_AIRFLOW", "PYTHON", "VIRTUAL_ENV", "COVERAGE_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
    path = f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Without this, macOS ends forked children that use its frameworks.
    return kept | {
        # Its components talk to each other and to other deployments of this machine.
        **without_proxy(os.environ),
        "PATH": path,
        "VIRTUAL_ENV": str(environment),
        "PYTHONUNBUFFERED": "1",
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }


def _common(version: Release, place: Place) -> dict[str, str]:
    """Return what every generation understands; an option that a version does not know does no harm."""
    database = "database" if version.minor >= (2, 3) else "core"
    return {
        f"{database}__sql_alchemy_conn": f"sqlite:///{place.home / DATABASE_FILE}",
        f"{database}__load_default_connections": "False",
        "core__dags_folder": str(place.dags),
        "core__load_examples": "False",
        "core__dags_are_paused_at_creation": "False",
        "core__fernet_key": FERNET_KEY,
        "core__execute_tasks_new_python_interpreter": "False",
        "core__test_connection": "Enabled",
        # The default queries the DNS for this machine's full name, which may take seconds.
        "core__hostname_callable": "socket:gethostname" if version.minor < (2, 0) else "socket.gethostname",
        "scheduler__scheduler_heartbeat_sec": "1",
        "usage_data_collection__enabled": "False",
    }


def _classic(place: Place) -> dict[str, str]:
    """Return what 1.10 and 2.x share: a gunicorn web server, and a scheduler that parses the DAG files."""
    return {
        "webserver__web_server_host": "127.0.0.1",
        "webserver__web_server_port": str(place.port),
        "webserver__base_url": place.url,
        "webserver__secret_key": SECRET,
        "webserver__workers": "1",
        "webserver__worker_refresh_interval": "0",
        # By default a web server whose worker is not ready within two minutes ends itself, on a busy machine too.
        "webserver__web_server_master_timeout": "600",
        "webserver__warn_deployment_exposure": "False",
        "scheduler__parsing_processes": "1",
        "scheduler__dag_dir_list_interval": "2",
        "scheduler__min_file_process_interval": "10",
        "scheduler__scheduler_idle_sleep_time": "0.3",
        "scheduler__print_stats_interval": "0",
    }


def _one_by_one() -> dict[str, str]:
    """Return the executor which runs each task within the scheduler's loop, that shows no sign of life meanwhile."""
    return {"core__executor": "SequentialExecutor", "scheduler__scheduler_health_check_threshold": "180"}


def _airflow_1(place: Place) -> dict[str, str]:
    return (
        _classic(place)
        | _one_by_one()
        | {
            "webserver__rbac": "True",
            "api__auth_backend": "airflow.api.auth.backend.default",
            "scheduler__processor_poll_interval": "0.3",
            "scheduler__max_threads": "1",
            # Here, tasks are scheduled by the process that parses their file, each time that it does.
            "scheduler__min_file_process_interval": "0",
            # A task's end is noticed at the next heartbeat of its job.
            "scheduler__job_heartbeat_sec": "1",
        }
    )


def _airflow_2(version: Release, place: Place) -> dict[str, str]:
    options = _classic(place) | {
        # A task that ends schedules the next one itself, at times together with the scheduler: without the row
        # locks that SQLite does not have, the next one then skips a try.
        "scheduler__schedule_after_task_execution": "False",
        # Before 2.2 the scheduler's pause between two loops had the name it had in 1.10.
        "scheduler__processor_poll_interval": "0.3",
        # Roles are synchronised when the database is prepared, not at each start of the web server.
        "webserver__update_fab_perms": "False",
        "fab__update_fab_perms": "False",
    }
    if version.minor >= LOCAL_EXECUTOR_SINCE:
        options |= {"core__executor": "LocalExecutor", "core__parallelism": "4"}
    else:
        options |= _one_by_one()
    if version.minor >= (2, 9):
        fab = "airflow.providers.fab.auth_manager.api.auth.backend"
        options["api__auth_backends"] = f"{fab}.basic_auth,airflow.api.auth.backend.session"
    elif version.minor >= (2, 3):
        options["api__auth_backends"] = "airflow.api.auth.backend.basic_auth,airflow.api.auth.backend.session"
    else:
        options["api__auth_backend"] = "airflow.api.auth.backend.basic_auth"
    return options


def _airflow_3(place: Place, users: Users, auth_manager: str | None) -> dict[str, str]:
    options = {
        "core__executor": "LocalExecutor",
        "core__parallelism": "4",
        "core__execution_api_server_url": f"{place.url}/execution/",
        "api__host": "127.0.0.1",
        "api__port": str(place.port),
        "api__base_url": place.url,
        "api__workers": "1",
        "api__secret_key": SECRET,
        "api_auth__jwt_secret": SECRET,
        "dag_processor__refresh_interval": "2",
        "dag_processor__bundle_refresh_check_interval": "1",
        "dag_processor__min_file_process_interval": "10",
        "dag_processor__parsing_processes": "1",
        "dag_processor__print_stats_interval": "0",
        "scheduler__scheduler_idle_sleep_time": "0.2",
        # A task reports its start to the API server, and fails when no answer comes within this time. The
        # first answer takes longer than the 5 s that are the default where other programs keep the processor busy.
        "workers__execution_api_timeout": "60",
    }
    if auth_manager == "fab":
        return options | {
            "core__auth_manager": FAB_AUTH_MANAGER,
            "fab__auth_backends": "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth",
            "fab__update_fab_perms": "False",
        }
    return options | {
        "core__simple_auth_manager_users": ",".join(f"{login}:{role}" for role, (login, _) in users.items()),
        "core__simple_auth_manager_passwords_file": str(place.home / PASSWORDS_FILE),
    }


def server_settings() -> dict[str, str]:
    """Return the variables that a database server, which has row locks, takes back to Airflow's defaults."""
    return {"AIRFLOW__SCHEDULER__SCHEDULE_AFTER_TASK_EXECUTION": "True"}


def celery_settings(broker: str) -> dict[str, str]:
    """Return the variables that replace the LocalExecutor by the CeleryExecutor; results are kept in the database."""
    options = {
        "core__executor": "CeleryExecutor",
        "core__parallelism": "16",
        "scheduler__standalone_dag_processor": "True",
        "celery__broker_url": broker,
        "celery__worker_concurrency": "4",
        # The default of a second is short for two cores that run all of this.
        "celery__operation_timeout": "20",
    }
    return {f"AIRFLOW__{name.upper()}": value for name, value in options.items()}


def with_long_timeouts(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a writer waits a minute for others; after 5 s, a scheduler would end itself.

    This is not for Airflow 3's API server. There, the commit of one request can hold up the event loop which has to
    let another one commit first: the sooner one of the two gives up, the better.
    """
    return {
        name: f"{value}?timeout=60" if name.endswith("__SQL_ALCHEMY_CONN") and value.endswith(DATABASE_FILE) else value
        for name, value in environment.items()
    }


def passwords_file(users: Users) -> str:
    """Return what Airflow 3's simple auth manager reads its passwords from."""
    return json.dumps(dict(users.values()))
