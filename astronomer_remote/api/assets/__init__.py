"""
Flows about assets and their events: list, register an event once, materialize.

Airflow 2 calls an asset a dataset.
"""
