"""One run of a workload on a backend: the workload, the probe, the clocks, the tables."""
