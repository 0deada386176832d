"""Engines that other people wrote, as backends of the conformance suite.

Each engine has a module or package of its own here, which imports that engine only when a backend
is made: `cellspec` itself needs none of them. `simulations.releases.command` runs the suite on many
releases of one engine and publishes what it found.
"""
