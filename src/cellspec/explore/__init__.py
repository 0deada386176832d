"""The exhaustive explorer: every state of every small graph, and what the clauses say of each.

A bug in a scheduler needs few columns, few rows and an unlucky order. So all orders of small graphs
are gone through: which node starts or ends next, when a checkpoint is written, where the process
dies and what storage gives back then, which call fails. What is counted as a state and a step, and
why no more are needed, is on the page ``specs/exploration.md`` with the counts.

==============  ====================================================================================
module          what it does
==============  ====================================================================================
`worlds`        every graph of a size, and those that differ in more than names
`relation`      the steps of one graph as masks, compiled by asking the reference
`laws`          the clauses, stated a second time, that steps and states are held against
`search`        breadth first through all states; the shortest way to a broken clause; no trap
`cases`         a way as actions, as a story, and as a case file
`lockstep`      masks against `cellspec.machine.machine.Machine`, state by state
`tiers`         which configurations are explored, and a search that can be stopped
`page`          the counts on the page
==============  ====================================================================================

Three statements of the rules meet here: the reference, from which the masks are compiled; the
machine, which must allow the same steps; and the laws, which share nothing with the masks but the
numbering of their bits. A test holds them against a fourth, the naive definition of the tests.

>>> from cellspec.explore.relation import Faults
>>> from cellspec.explore.bounds import search_for
>>> from cellspec.explore.pipelines import parse_shape
>>> graph = parse_shape("a v:barrier(a) c(v)").graph(2)
>>> search_for(graph, Faults()).run().states == 3**2 + 1 + 5**2
True
"""
