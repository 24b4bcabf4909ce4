"""Into a node: the collector's script, and a shell to give it to. Whose shell it is, the reader does not know."""
