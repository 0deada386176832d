"""Scenario files: one simulated run, described in YAML."""
