"""Tests of conformance.campaign."""
