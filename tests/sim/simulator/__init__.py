"""Tests of sim.simulator."""
