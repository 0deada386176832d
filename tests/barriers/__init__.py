"""Tests of `simulations.barriers`."""
