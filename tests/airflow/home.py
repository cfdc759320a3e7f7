"""An Airflow home of its own for tests that import Airflow, which reads its configuration when it is first imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

HOME = tempfile.mkdtemp(prefix="astronomer-remote-tests-")
os.environ.update(
    {
        "AIRFLOW_HOME": HOME,
        "AIRFLOW__CORE__DAGS_FOLDER": os.path.join(HOME, "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
)
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
