"""A run that broke a clause, once more and step by step."""
