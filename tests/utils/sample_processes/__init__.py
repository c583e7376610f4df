"""Processes that no service has: what the registry makes of functions."""
