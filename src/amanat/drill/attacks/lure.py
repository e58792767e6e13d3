"""Files that are to make a client call a relay of the sender's choice.

Method: a contact whose program lies announces files that rest at relays of hers, of which the
person has never heard or whose address they have. She says it of files that their client would
fetch by itself, in a conversation of two and in a group, and of files that it is fetching
already.
Source: the pictures in mail that tell when it was read, from which address.
Metric: relays that a client called by itself. The control is the person, who names them: then all
are called.
"""

from __future__ import annotations

NAME = "lure"
MODES = ("direct", "hopped")
HOW = ("of two", "known", "group", "again")
"""Where such a file is announced, and how."""
EACH = 10
"""Such files of each kind, in each mode."""
WAIT_S = 900.0
"""How long a client has time to call, in seconds: each pause before it tries again is shorter."""
