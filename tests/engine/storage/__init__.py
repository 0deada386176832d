"""Tests of engine.storage."""
