"""The exhaustive explorer."""
