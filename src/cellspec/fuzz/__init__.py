"""Fuzzing: random runs of large workloads, on any engine, until new situations stop coming up.

The explorer proves small pipelines; this package samples large ones. Three parts, a module each:

- `cellspec.fuzz.swarm` makes workloads of hundreds of rows and tens of columns;
- `cellspec.fuzz.schedules` decides which of the calls in flight ends next;
- `cellspec.fuzz.search` runs them, counts the situations, and stops when new ones stop coming up.

``python -m sim fuzz`` is `sim.commands.fuzz`.
"""
