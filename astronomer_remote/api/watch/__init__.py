"""
One poll loop per deployment and event loop, however many tasks wait.

Triggers use it; workers poll by themselves.
"""
