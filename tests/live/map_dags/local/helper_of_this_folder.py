"""What the DAG file next to this one imports, as DAG files do."""

from __future__ import annotations

from datetime import datetime

START = datetime(2026, 1, 1)
