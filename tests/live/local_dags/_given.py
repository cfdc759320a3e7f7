"""What a scenario is built for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Given:
    """
    The remote and the mode of a DAG; connection and mode are also the defaults of its tasks.

    :param connection: id of the connection to the remote, as an account that may do everything.
    :param version: of the remote's Airflow.
    :param deferrable: whether waiting is done in the triggerer.
    """

    connection: str
    version: tuple[int, ...]
    deferrable: bool

    @property
    def viewer(self) -> str:
        """A connection with an account that may only look."""
        return f"{self.connection}_viewer"

    @property
    def wrong(self) -> str:
        """A connection with a wrong password."""
        return f"{self.connection}_wrong"

    @property
    def down(self) -> str:
        """A connection to where nothing listens."""
        return f"{self.connection}_down"
