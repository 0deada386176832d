"""Adapters: engines of other people as backends of the conformance suite.

Each engine has a module or package of its own here, which imports that engine when a backend is
made, so `cellspec` needs none of them. The release matrix (``simulations/releases`` of a checkout)
runs the suite on many releases of one engine and publishes the results.
"""
