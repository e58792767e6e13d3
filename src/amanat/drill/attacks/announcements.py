"""Telling in a bucket whether somebody has sent a file or a text.

Method: real clients send texts and files by lot. The relay learns from half of the cells in the
bucket to tell the two apart, as it would tell two texts (`plaintext.py`). Beside it stands a relay
that has both the bucket and the files, and goes by the time since the last upload.
Source: the same game; for the times, Bahramali et al. (NDSS 2020).
Metric: area under the curve; 0.5 is a guess. The control is the same attack on what is sealed in
the cells.
"""

from __future__ import annotations

NAME = "picture-or-text"
SENT = 400
CONTROL = 0.95
"""Least area under the curve that the attack must reach on what is sealed in the cells."""
SIGMA = 3.3
"""Standard errors by which an attacker may seem to beat a coin, as for two known texts."""
APART_S = (3.0, 20.0)
"""Pauses between two sendings, in seconds."""
NAMES = ("", "holiday.pdf", "نامه به خانواده.pdf", "minutes of the meeting in October.docx")
CONTENT_BYTES = 300
"""Length of each file: its announcement is as long whatever it holds."""
