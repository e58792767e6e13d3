"""Trying Amanat on real traffic: traces of real people, replayed by real clients."""
