"""Durable storage of a run: rows and checkpoints that survive a crash at any moment."""
