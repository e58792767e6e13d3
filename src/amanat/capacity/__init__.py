"""The machines, lines and money that many people take, computed from measured figures."""
