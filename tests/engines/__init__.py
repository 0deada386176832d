"""Real engines under the conformance suite."""
