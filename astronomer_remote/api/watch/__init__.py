"""
Waits in an event loop that share their requests, however many tasks wait for the same deployment.

For runs, one poll loop per deployment serves all waits. For pools and assets, each wait has a loop of its own, and the
first one that needs a newer listing reads it for all.

Triggers use it; workers poll by themselves.
"""
