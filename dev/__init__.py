"""Throw-away real Airflow deployments of any version, for the demo, the live tests and the benchmarks."""

from __future__ import annotations
