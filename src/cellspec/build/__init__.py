"""Graphs from configurations: a builder, which reads traits from generator classes."""
