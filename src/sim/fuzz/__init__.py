"""The older place of `cellspec.fuzz`, for version 0.1; `sim.fuzz.machine` is what stays of it."""
