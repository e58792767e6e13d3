"""A device and its restored profile, both in use.

Method: a person's profile is restored elsewhere while the device that the backup was made on goes
on. Both run at once, and on both the person writes to two contacts and a group as long as the
program lets them. The relay's log names the device of each cell. The control restores one backup
twice: of two devices of one generation some cells have to have one label.
Source: backups of other messengers, which restore ratchets and speak with used keys.
Metric: how many cells the restored profile sends under keys of the old device, and whether both
devices are told of each other.
"""

from __future__ import annotations

NAME = "two-live"
WORLDS = 3
