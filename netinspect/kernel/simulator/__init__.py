"""What the Linux kernel would do with a packet, from collected state alone: docs/simulator.md walks one through."""
