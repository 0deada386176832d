"""What earlier runs found, and the survivors that are argued.

A kill holds as long as the function of the mutant says the same. A survivor is kept with the
digests of the test files that let it live: only a file that has changed since is asked again.

A folder that git ignores keeps that by line. `tests/mutation_results.json` keeps of each function
which mutants lived, so that another clone tries no more than those, and what has changed.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.mutation.faults import ROOT, Fault, faults, modules
from tests.mutation.judging import Learned, files_of

__all__ = ["FOLDER", "KINDS", "SHARED", "SURVIVORS", "Results", "argued", "digests_of"]

FOLDER = ROOT / "out" / "mutation"
"""Where results are, unless told otherwise. Git ignores it."""

SHARED = ROOT / "tests" / "mutation_results.json"
"""By module and function: its digest, the number of its mutants, the test that killed most of them,
and of those that no test killed the last round that each lived through, or null if it met none."""

_LEARNED = "learned.json"

KINDS = ("killed", "argued", "open", "unfinished", "not tried")
"""What may become of a mutant; an unfinished one survived some of the tests that reach it."""

SURVIVORS = ROOT / "tests" / "mutation_survivors.toml"


@cache
def argued() -> dict[str, dict[str, str]]:
    """By module, the survivors that cannot be told from it, each with the reason.

    A reason that begins with ``=`` names a group of `reasons`, which is said once.
    """
    listed = tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))
    groups = listed.pop("reasons", {})
    return {
        module: {
            key: groups[reason[1:]] if reason.startswith("=") else reason
            for key, reason in reasons.items()
        }
        for module, reasons in listed.items()
    }


def digests_of(names: Sequence[str]) -> dict[str, str]:
    """By test file, a digest of what it says."""
    return {
        str(file.relative_to(ROOT)): hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
        for file in files_of(names)
    }


@dataclass
class Results:
    """The folder of results; what it and `SHARED` hold is read when it is opened."""

    folder: Path = FOLDER
    shared: Path = SHARED
    killed: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """The test that killed a mutant, by module, key and digest of the function."""

    survived: dict[tuple[str, str, str], dict[str, set[tuple[str, str]]]] = field(
        default_factory=dict
    )
    """By round, the test files, with their digests, that a mutant survived."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.shared.exists():
            self._know_shared(json.loads(self.shared.read_text(encoding="utf-8")))
        self._sets: dict[str, list[tuple[str, str]]] = {}
        for file in sorted(self.folder.glob("tests-*.json")):
            said = json.loads(file.read_text(encoding="utf-8"))
            self._sets[file.stem] = [(name, digest) for name, digest in said.items()]
        for file in sorted(self.folder.glob("*.jsonl")):
            for line in file.read_text(encoding="utf-8").splitlines():
                key, digest, round_name, test, met = json.loads(line)
                self._know((file.stem, key, digest), round_name, test, met)

    def _know(
        self, name: tuple[str, str, str], round_name: str, test: str | None, met: str
    ) -> None:
        if test is not None:
            self.killed[name] = test
        else:
            by_round = self.survived.setdefault(name, {})
            by_round.setdefault(round_name, set()).update(self._sets.get(met, ()))

    def _know_shared(self, said: dict[str, dict[str, list[Any]]]) -> None:
        known = set(modules())
        for module, units in said.items():
            for unit, together in _by_unit(module).items() if module in known else ():
                digest, mutants, test, lived = units.get(unit, ["", 0, None, {}])
                if [digest, mutants] != [together[0].digest, len(together)]:
                    continue
                for fault in together:
                    if fault.key not in lived:
                        self.killed[_name(fault)] = test
                    elif lived[fault.key]:
                        self.survived[_name(fault)] = {lived[fault.key]: set()}

    def share(self) -> None:
        """Write `SHARED`."""
        rows = []
        for module in modules():
            units = [
                f"{json.dumps(unit)}: {json.dumps(self._row(together))}"
                for unit, together in _by_unit(module).items()
            ]
            if units:
                inside = ",\n".join(units)
                rows.append(f"{json.dumps(module)}: {{\n{inside}\n}}")
        self.shared.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")

    def _row(self, together: Sequence[Fault]) -> list[object]:
        killers = Counter(test for fault in together if (test := self.killer(fault)))
        # Of equals the first by name, so that two runs write the same.
        most = min(killers, key=lambda test: (-killers[test], test), default=None)
        lived = {
            fault.key: list(self.survived.get(_name(fault), [None]))[-1]
            for fault in together
            if not self.killer(fault)
        }
        return [together[0].digest, len(together), most, lived]

    def killer(self, fault: Fault) -> str | None:
        """The test that killed a mutant, if one did."""
        return self.killed.get(_name(fault))

    def became(self, fault: Fault) -> str:
        """One of `KINDS`."""
        if self.killer(fault):
            return "killed"
        if fault.key in argued().get(fault.module, {}):
            return "argued"
        met = self.survived.get(_name(fault), {})
        if not met:
            return "not tried"
        return "open" if "quick" in met or not fault.in_body else "unfinished"

    def met(self, fault: Fault, round_name: str) -> set[tuple[str, str]]:
        """The test files that a mutant survived as they are now or were, with their digests."""
        return self.survived.get(_name(fault), {}).get(round_name, set())

    def add(self, fault: Fault, round_name: str, test: str | None, met: dict[str, str]) -> None:
        """Keep what became of a mutant that met these test files."""
        text = json.dumps(met, sort_keys=True)
        name = f"tests-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
        if name not in self._sets:
            (self.folder / f"{name}.json").write_text(text, encoding="utf-8")
            self._sets[name] = list(met.items())
        with (self.folder / f"{fault.module}.jsonl").open("a", encoding="utf-8") as file:
            print(json.dumps([fault.key, fault.digest, round_name, test, name]), file=file)
        self._know(_name(fault), round_name, test, name)

    def learned(self, tests: dict[str, str]) -> Learned:
        """What runs of these test files without a fault told; a file that changed is left out."""
        path = self.folder / _LEARNED
        kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
        learned = Learned()
        for file, (digest, said) in kept.items():
            if tests.get(file) == digest:
                learned.add(file, Learned.from_json(said))
        return learned

    def keep_learned(self, tests: dict[str, str], learned: Learned) -> None:
        """Keep it for later runs."""
        kept = {file: [tests[file], learned.of(file).to_json()] for file in learned.files}
        (self.folder / _LEARNED).write_text(json.dumps(kept), encoding="utf-8")


def _by_unit(module: str) -> dict[str, list[Fault]]:
    units: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults(module):
        units[fault.unit].append(fault)
    return units


def _name(fault: Fault) -> tuple[str, str, str]:
    return fault.module, fault.key, fault.digest
