"""The backends of the conformance suite that come with cellspec, each under a short name.

Adapters of other people's engines are `dask`, `ray` and `datadesigner`, and `lines` for any engine
that speaks JSON lines. Each imports its engine when a backend is made, so `cellspec` works without
them. `reference` is the reference engine, and `machine` the transition system as an engine. `rows`
and `remote` are parts that several adapters share. The release matrix (``simulations/releases`` of
a checkout) runs the suite on many releases of one engine and publishes the results.

Each backend is registered in ``pyproject.toml`` under a short name, as a package of somebody else
registers its own (`cellspec.conformance.run.registered`); ``cellspec backends`` lists them.
"""
