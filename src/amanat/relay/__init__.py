"""The relay: stores drops and knows nothing else. It cannot open a cell: it cannot import `mls`."""
