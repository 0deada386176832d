"""Broken engines by name, for command lines: ``tests.matrix.fuzzed:DropsTheNextRow``."""

from __future__ import annotations

from cellspec.engines.reference import ReferenceBackend
from tests.matrix.engine_mutants import ENGINE_MUTANTS


def __getattr__(name: str) -> ReferenceBackend:
    for mutant in ENGINE_MUTANTS:
        if "".join(word.capitalize() for word in mutant.name.split()) == name:
            return mutant.backend()
    raise AttributeError(name)
