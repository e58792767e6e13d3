"""The attacks: one module each, with its method, its source and what it measures."""
