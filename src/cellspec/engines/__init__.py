"""Adapters: engines of other people as backends of the conformance suite.

Each engine has a module or package of its own here, which imports that engine when a backend is
made, so `cellspec` needs none of them. The release matrix (``simulations/releases`` of a checkout)
runs the suite on many releases of one engine and publishes the results.

Each adapter is registered in ``pyproject.toml`` under a short name, as a package of somebody else
registers its own (`cellspec.conformance.run.registered`); ``cellspec backends`` lists them.
"""
