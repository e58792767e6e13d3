"""The attacks: one module each, with its method, its source and its metric."""
