"""Run inside a deployment's own Python (3.8 or newer): make its database and, for FAB, its users.

One process does all of it, since importing Airflow is most of the time that each `airflow` command takes.
The argument is JSON: ``{"users": {role: [login, password], …}}``, no users when FAB does not keep them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any


def module(name: str) -> Any:
    """Return a module, or None when this Airflow does not have it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


@contextlib.contextmanager
def app_builder() -> Iterator[Any]:
    """Yield Flask-AppBuilder as each line of Airflow offers it."""
    newer = module("airflow.providers.fab.auth_manager.cli_commands.utils")
    older = module("airflow.www_rbac.app")  # 1.10, whose airflow.www is a UI without roles
    if newer:
        with newer.get_application_builder() as builder:
            yield builder
    elif older:
        yield older.cached_appbuilder()
    else:
        yield importlib.import_module("airflow.www.app").cached_app().appbuilder


def make_users(users: dict[str, tuple[str, str]]) -> None:
    """Create the roles of Airflow, then one user for each requested role."""
    with app_builder() as builder:
        manager = builder.sm
        with contextlib.suppress(AttributeError):  # not in 1.10, where roles alone are synchronised
            builder.add_permissions(update_perms=True)
        manager.sync_roles()
        for role, (login, password) in users.items():
            found = manager.find_role(role.capitalize())
            if not manager.add_user(login, login, "user", f"{login}@example.com", found, password=password):
                raise SystemExit(f"could not create the user {login!r} with the role {role!r}")


def main() -> None:
    """Prepare the database named by the environment."""
    users = json.loads(sys.argv[1])["users"]
    importlib.import_module("airflow.utils.db").initdb()
    if users:
        make_users(users)


if __name__ == "__main__":
    main()
