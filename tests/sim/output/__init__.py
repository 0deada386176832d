"""Tests of the words of commands."""
