"""Engines to try the conformance suite on, beside the reference."""
