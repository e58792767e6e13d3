"""The shell: it owns the clock, the tasks and the links, and decides nothing."""
