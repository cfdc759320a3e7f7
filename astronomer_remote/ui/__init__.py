"""The page "Remote deployments" in Airflow's UI."""
