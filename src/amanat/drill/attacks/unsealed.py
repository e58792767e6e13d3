"""A hop that wants an answer which is sealed for somebody else.

Method: the hop hands over somebody's sealed request, which waits for a cell, and asks for something
else under the same id, in the open, before it or after it. Then the cell comes.
Source: RFC 9458, section 7.1: the relay resource of Oblivious HTTP learns no request or response.
Metric: cells that the hop can read in what the relay sends it.
"""

from __future__ import annotations

NAME = "unsealed-answer"
TRIES = 200
