"""Frozen values: what was read, and what is said about it."""
