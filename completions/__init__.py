"""Completion scripts, and what writes them."""
