"""Speaks to the REST API of a remote Airflow of any generation; knows no Airflow code, and only its drivers do I/O."""
