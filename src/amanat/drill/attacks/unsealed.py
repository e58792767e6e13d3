"""A hop that wants an answer in clear which is to be sealed for somebody else.

Method: the hop hands over somebody's sealed request, which waits for a cell, and sends another
request under the same id, in clear, before or after it. Then the cell comes.
Source: RFC 9458, section 7.1: the relay resource of Oblivious HTTP learns no request or response.
Metric: cells that the hop can read in the relay's answers.
"""

from __future__ import annotations

NAME = "unsealed-answer"
TRIES = 200
