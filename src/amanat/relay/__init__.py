"""The relay: stores drops and knows nothing else. It cannot read a cell, and cannot import `mls`."""
