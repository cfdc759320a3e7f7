"""Trigger, watch and manage work in another Airflow deployment, from a DAG in this one."""

from __future__ import annotations

# Airflow imports this package while it looks for providers and while it parses DAG files: keep it weightless.
__version__ = "0.1.0"
