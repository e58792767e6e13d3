"""The rules on which relay and client must agree. Sans-I/O: no socket, no clock, no randomness."""
