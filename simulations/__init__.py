"""Scenarios and results, and the release matrix of engines."""
