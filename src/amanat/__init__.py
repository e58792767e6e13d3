"""Amanat: a messenger whose relay may be put anywhere and still betrays no one."""

__version__ = "0.1.0"
