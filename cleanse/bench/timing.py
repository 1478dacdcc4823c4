"""How long a dry run measures."""

TIMING = 60.0
"""Seconds after which no further step is timed (D350)."""
