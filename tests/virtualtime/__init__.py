"""Tests of virtualtime."""
