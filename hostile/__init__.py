"""A hostile operator: the ordinary relay, with somebody looking on who has the root shell.

Not part of Amanat: no wheel holds this directory, nothing of `amanat` imports it (contract), and
the relay has no place where it could be let in. It wraps the relay's classes from outside, as
whoever has a root shell can do to any program.
"""
