"""The judges of a run: its events, its end, its tables, its coverage, and the verdict."""
