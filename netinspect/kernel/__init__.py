"""The Linux network stack, out of what its tools print: pure functions from text to frozen structs."""
