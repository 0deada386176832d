"""Fuzzing: random runs far beyond what can be explored, on any engine, until nothing new comes up.

The explorer proves small worlds; this package looks into large ones. Three parts, a module each:

- `cellspec.fuzz.swarm` makes workloads of hundreds of rows and tens of columns;
- `cellspec.fuzz.schedules` decides which of the calls in flight ends next;
- `cellspec.fuzz.search` runs them, keeps account of what came up, and stops when nothing new does.

``python -m sim fuzz`` is `sim.commands.fuzz`.
"""
