"""A backup that is not whole.

Method: a backup is spoiled as disks and people spoil files: a byte is changed, the end is cut off,
two of its frames change places, or the end of another backup of the same person stands in it. Then
it is restored. The control is the whole backup, which has to restore.
Source: backups of other messengers that pass their check and do not restore.
Metric: spoiled backups of which anything was restored.
"""

from __future__ import annotations

NAME = "backup-truth"
KINDS = ("changed", "cut", "swapped", "mixed")
EACH = 50
"""Spoiled backups of each kind."""
