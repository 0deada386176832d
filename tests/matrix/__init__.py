"""The matrix: every clause, the check that speaks for it, and the broken engines that it catches.

`examples` are small workloads, from the simplest to the random. `checks` judge a *subject* (the
reference, or a mutant of it) on one example, each for one clause. `mutants` are subjects with one
part broken on purpose. `measure` finds, for each mutant, which clause catches it first and what
happens when that clause's check is off. ``python -m tests.matrix --write`` makes ``specs/``.
"""
