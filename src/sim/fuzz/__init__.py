"""Fuzzing: random runs far beyond what can be explored, on any engine, until nothing new comes up.

The explorer proves small worlds; this package looks into large ones. Three parts, a module each:

- `sim.fuzz.swarm` makes workloads of hundreds of rows and tens of columns;
- `sim.fuzz.schedules` decides which of the calls in flight ends next;
- `sim.fuzz.search` runs them, keeps account of what came up, and stops when nothing new does.

``python -m sim fuzz`` is `sim.fuzz.command`.
"""
