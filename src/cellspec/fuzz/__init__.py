"""Fuzzing: random runs of large workloads, on any engine, until new situations stop coming up.

The explorer proves small pipelines; this package samples large ones.

===============  ===================================================================================
module           contents
===============  ===================================================================================
`draws`          workloads of hundreds of rows and tens of columns
`schedules`      which of the calls in flight ends next
`options`        engine, methods, size and budget of a search
`runs`           one run, judged
`targeted`       a batch of targeted runs
`account`        runs, situations, and the first violation
`corpus`         workloads that showed a new situation, kept in a folder
`search`         batches until a clause breaks, the budget is spent, or a plateau is reached
===============  ===================================================================================
"""
