"""The command line: wire, print, exit."""

from netinspect.cli.app import main

__all__ = ["main"]
