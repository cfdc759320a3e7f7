"""
Flows about DAG runs: trigger, poll, follow, cancel, clear, and why one failed.

DAGs, dates and results belong to runs.
"""
