"""The client: holds the keys, trusts no relay."""
