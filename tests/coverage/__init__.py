"""How often intervals hold the truth: experiments with known answers, repeated many times.

``python -m tests.coverage`` runs the campaigns and prints the page ``simulations/coverage.md``;
``--write`` writes it. A campaign is a module with a `section` of the page.
"""
