"""The barrier options A to D on real pipelines: the decision that the seed left open, measured.

``python -m simulations.barriers`` (``make experiments``) makes the runs, writes them down in
``simulations/barriers/runs.csv``, and writes ``plans/barrier-checkpointing.md`` with its figure;
``--page`` writes page and figure again from the runs that are there.

`pipelines` makes scenarios of real configurations, `campaign` says what is run and runs it, `page`
and `figure` show it.
"""
