"""How Hypothesis goes about these tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A machine that is busy with other things must not make a law look broken.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
