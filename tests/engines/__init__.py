"""Real engines under the conformance suite, and the campaign over their releases."""
