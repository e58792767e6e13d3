"""The SDK: what programs use a client by."""
