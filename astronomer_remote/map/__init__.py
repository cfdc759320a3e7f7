"""Which local DAGs and tasks depend on what in which remote deployment."""
