"""The exhaustive explorer: every state of every small pipeline, judged by the clauses.

A bug in a scheduler needs few columns, few rows and an unlucky order. So the explorer goes through
all orders of small pipelines: which node starts or ends next, when a checkpoint is written, where
the process dies, which claim storage gives back then, and which call fails. The page
``specs/exploration.md`` defines states and steps, says why no more are needed, and has the counts.

===================  ===============================================================================
module               contents
===================  ===============================================================================
`pipelines`          the pipelines in scope: every shape of a size, one for each renaming
`steps`              states and steps, in the words of the machine
`relation`           the steps of one pipeline as masks, compiled by asking the reference
`invariants`         the clauses, stated a second time, that judge steps and states
`histories`          claims on storage and spent faults, as one bit of an integer
`resuming`           the states in which a new process may begin
`stopping`           the steps of a run that is asked to stop, and its end as interrupted
`losing`             the steps by which results are lost with a worker
`symmetry`           states that differ in the order of interchangeable rows
`search`             breadth first through all states; the shortest path to a broken clause; no trap
`actions`            steps as actions of the machine
`counterexamples`    a path in words, and as a trace
`equivalence`        the check that the relation and the machine allow the same steps
`bounds`             which configurations are explored, and a search that can be stopped
`page`               the counts on the page
===================  ===============================================================================

Three statements of the rules meet here: the reference, from which the masks are compiled; the
machine, which the equivalence check holds to the same steps; and the invariants, which share
nothing with the masks but the numbering of their bits. A test holds all three against a fourth, the
naive definition of the tests.

>>> from cellspec.explore.relation import Faults
>>> from cellspec.explore.bounds import search_for
>>> from cellspec.explore.pipelines import parse_shape
>>> graph = parse_shape("a v:barrier(a) c(v)").graph(2)
>>> search_for(graph, Faults()).run().states == 3**2 + 1 + 5**2
True
"""
