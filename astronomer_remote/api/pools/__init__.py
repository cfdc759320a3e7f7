"""
Flows about pools: read, list, create, ensure, update, delete, lend, sync.

What has to change is decided in ``diff``.
"""
