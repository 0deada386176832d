"""Tests of conformance.pytest."""
