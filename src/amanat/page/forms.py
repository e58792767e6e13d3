"""The form of everything that the page asks, and the fields that asks have in common."""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_MESSAGES = 200
"""Most messages in an answer."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A whole number that JavaScript represents exactly."""
ChatKey = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){1,64}$")]
"""The gid of a conversation, in hex."""
MessageId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
PositionText = Annotated[str, msgspec.Meta(max_length=400)]
Many = Annotated[int, msgspec.Meta(ge=1, le=MAX_MESSAGES)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
"""A name or an id of a person, a group, an invite, a visitor or an offer."""
Line = Annotated[str, msgspec.Meta(max_length=8192)]
"""A line that the person has typed or pasted: an address, a link, an access code, words."""
Secret = Annotated[str, msgspec.Meta(max_length=4096)]
"""A passphrase, or a login for a proxy."""
PathText = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
"""A path on this machine; Linux has none that is longer."""
Region = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="do"):
    """Something that the page asks."""

    id: Number
