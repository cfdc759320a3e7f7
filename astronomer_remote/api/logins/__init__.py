"""Logins: one class for each way to authenticate, found by its name in a connection."""
