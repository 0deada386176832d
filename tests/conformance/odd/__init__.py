"""Odd but right engines: what engines in the field do, and the suite must not call wrong."""
