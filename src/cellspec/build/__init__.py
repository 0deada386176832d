"""Graphs from configurations: a builder, and the traits that generator classes are read for."""
