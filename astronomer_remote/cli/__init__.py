"""
The command ``astronomer-remote``: another deployment from a shell or a CI job.

Importing one of these modules imports neither Airflow nor an HTTP library; a command imports what it uses.
"""
