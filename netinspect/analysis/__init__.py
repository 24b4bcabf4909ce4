"""The engine: pure functions from a Snapshot to a document."""
