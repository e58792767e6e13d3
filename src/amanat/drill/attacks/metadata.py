"""Place, time and camera in pictures that people send.

Method: fifty picture files as cameras and programs write them (`amanat.drill.cameras`), with texts
that stand nowhere else in every block of their formats, are sent as pictures. Everything that would
leave (the picture, its preview, its hint) is searched for these texts and for the numbers of the
place. The same files sent as files, untouched, are the control: the search has to find them there.
Source: the leaks of messengers that took metadata out in place, or on some of their paths only.
Metric: pictures of which anything planted is found.
"""

from __future__ import annotations

NAME = "metadata"
PICTURES = 50
