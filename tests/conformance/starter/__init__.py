"""The files with which somebody begins to test an engine."""
