"""What do the tests let through? One small fault at a time is put into a module, and they are run.

``python -m tests.mutation machine state`` mutates the modules of these rooms: each comparison,
condition, number, sum and statement in turn, as one who errs by one might have written it. Each
mutant runs in a process of its own against the tests that enter its function, until the first one
fails. A mutant that no test fails for has *survived*: a test is missing, code is dead, or nothing
can tell the two apart. `tests/mutation_survivors.toml` lists those of the last kind, each with the
reason. Exit code 1 if a mutant survives that is not listed there, or a listed one does not survive.

- `tests.mutation.faults` makes the mutants, and names them so that an edit of another function
  renames none.
- `tests.mutation.judging` runs the tests on a mutant.
- `tests.mutation.results` keeps what was found, for this clone and for others.
- `tests.mutation.page` writes `specs/mutation.md`.

Results are kept line by line, so a run that was stopped goes on where it was, and ``--minutes``
makes a run a chunk of the whole; ``--write`` keeps them for other clones too. A kill holds as long
as its function says the same; a survivor is tried again when a test file changed.

**Why not a library.** mutmut 3.8 numbers all mutants of a function in one row, so that an edit
renames the survivors behind it; it leaves out decorated functions, such as properties, and all that
stands outside of functions; it starts pytest for each mutant, and runs tests in the order of their
time alone. Cosmic Ray 8.7 numbers mutants by file, and starts the whole test command for each.
Neither holds a reason beside a survivor. Here the tests are collected once, a mutant costs a fork,
and the test that killed its neighbours goes first.

No part of CI: a room takes an hour of one core. It needs `fork`.
"""
