"""A sweep: many points of one scenario, each run with seed after seed, in a folder that goes on.

A point is a scenario with some of its fields set. A sweep file says which points there are, and
how often each is run; a folder keeps each run as soon as it is made. A run is known by the digest
of its resolved scenario, and its seed: a sweep that was stopped, in whatever way, makes what is
missing.

=================  =================================================================================
module             contents
=================  =================================================================================
`spec`             the sweep file: its fields and their faults
`points`           the points of a sweep file, each with its resolved scenario
`plan`             which runs a sweep wants, given those that are there
`store`            the folder: ``manifest.json``, ``points.jsonl``, ``runs/SHARD.jsonl``
`runner`           makes what is missing, in this process, in others, or on a cluster
`derived`          ``runs.csv``, ``summary.csv``, Parquet: functions of the set of runs
`merge`            joins the folders of shards
=================  =================================================================================
"""
