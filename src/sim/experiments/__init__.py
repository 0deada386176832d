"""Many runs of one scenario or of several, and what can be said of them.

A run is a draw. This package repeats it with seed after seed, and says how sure a figure is, which
of two configurations is better, and by how much.

======================  ============================================================================
module                  contents
======================  ============================================================================
`intervals`             the mean of runs, their quantiles and paired differences, with intervals
`experiment`            scenarios that are run with the same seeds
`replication`           one run of a scenario with one seed, as plain figures
`stopping`              how many runs are enough
`deciding`              the figures that a table of many runs shows
`replicated`            a scenario that was run many times, with its figures
`compared`              two scenarios, figure by figure, with a verdict for each
`elimination`           the best of several scenarios: what is shown to be worse is put out
`tuning_fields`         the fields that are searched for them, and their values
`tuned`                 the settings of a scenario that serve a goal best
`checkpoint_interval`   Young's and Daly's interval between two checkpoints
======================  ============================================================================
"""
