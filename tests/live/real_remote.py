"""A real remote, called with this package and checked through its database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TypeVar

import requests

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.drivers import SyncDriver, configure
from dev.deployments import Airflow
from dev.settings import DATABASE_FILE
from tests.live.plan import numbers

T = TypeVar("T")

VERSIONS = ("1.10.15", "2.0.2", "2.11.2", "3.0.6", "3.3.2")


class RealRemote:
    """A real remote."""

    def __init__(self, deployment: Airflow) -> None:
        self.deployment = deployment
        self.version = numbers(deployment.version)
        self.drivers: dict[str, tuple[Deployment, SyncDriver]] = {}
        self.remote = self.of("admin")

    def settings(self, role: str) -> Settings:
        """A connection for a user of a role."""
        login, password = self.deployment.users[role]
        # 1.10 has no users at its API.
        extra = {"auth": "none"} if self.version < (2,) else {}
        return Settings.parse(host=self.deployment.url, login=login, password=password, extra=extra)

    def of(self, role: str) -> Deployment:
        """The remote for a user of a role."""
        if role not in self.drivers:
            settings = self.settings(role)
            driver = SyncDriver(configure(requests.Session(), settings), settings, reload=lambda: settings)
            self.drivers[role] = Deployment(settings), driver
        return self.drivers[role][0]

    def run(self, flow: Flow[T], role: str = "admin") -> T:
        """Run a flow."""
        return self.drivers[role][1].run(flow)

    def execute(self, sql: str, *arguments: object) -> list[tuple[object, ...]]:
        """Read or write its database."""
        with closing(sqlite3.connect(self.deployment.home / DATABASE_FILE, timeout=60)) as database, database:
            return database.execute(sql, arguments).fetchall()
