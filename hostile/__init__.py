"""A hostile operator: the ordinary relay, watched by somebody who has the root shell.

It is not part of Amanat: no wheel contains this directory, nothing in `amanat` imports it
(contract), and the relay has no hook for it. It wraps the relay's classes from outside, as anyone
with a root shell can do to any program.
"""
