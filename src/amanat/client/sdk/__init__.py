"""The SDK: the interface by which programs use a client."""
