"""Many workloads, and the smallest that breaks a clause."""
