"""The client: it holds the keys and trusts no relay."""
