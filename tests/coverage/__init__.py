"""How often intervals hold the truth: experiments with known answers, repeated many times.

``python -m tests.coverage`` runs the campaigns and prints the page ``simulations/coverage.md``;
``--write`` writes it, and names of campaigns do only theirs. A campaign is a module here with a
function ``section(jobs)`` that gives a section of the page, which begins with ``## `` and a title,
and a name in `tests.coverage.page.CAMPAIGNS` with that title.
"""
