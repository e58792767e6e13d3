"""The rules of conversations: none has a clock or a socket, and each owns its tables."""
