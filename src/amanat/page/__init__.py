"""The page: a messenger in the person's own browser, served by the process that has the profile.

It uses the SDK as a bot does. It serves the person alone, on loopback.
"""

from amanat.page.house import House
from amanat.page.server import serving

__all__ = ["House", "serving"]
