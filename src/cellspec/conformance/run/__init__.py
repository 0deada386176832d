"""One workload on one backend: what the engine is asked, and what is seen of it."""
