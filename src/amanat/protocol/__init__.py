"""What relay and client must agree on. Sans-I/O: no socket, no clock, no randomness."""
