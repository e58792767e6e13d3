"""The lab: attacks on Amanat, replays of real people's traces, and the simulated world."""
