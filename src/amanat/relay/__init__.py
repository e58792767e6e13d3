"""The relay: stores drops and knows nothing else. It cannot open a cell, for it cannot import
`mls`."""
