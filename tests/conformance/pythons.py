"""One seed, on each Python that there is: the same verdicts and smallest workloads, to the byte.

``python -m tests.conformance.pythons`` runs the suite twice on each of some broken engines, with
each version of Python, in two processes of pytest-xdist, each time with another hash seed. What a
run found is compared with the first one: verdicts, reasons, smallest workloads and the runs of
these, and how much was tried. Only what an event cost may differ. Exit code 1 if anything else
does.

Each Python gets an environment of its own in a temporary folder. A version that is not on the
machine is named, and left out; with ``--all`` that is an error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

PYTHONS = ("3.11", "3.12", "3.13")

ENGINES = (
    "cellspec.engines.reference:ReferenceBackend",
    "tests.matrix.fuzzed:ResumesBarriersComplete",
    "tests.matrix.fuzzed:LosesGroupSlotOnDrop",
)
"""The right engine, and broken ones of the matrix."""

UV = Path(sys.executable).with_name("uv")


def environment(version: str, folder: Path) -> Path | None:
    """An environment of this version of Python with the suite in it; None without that Python."""
    python = folder / version / "bin" / "python"
    made = subprocess.run([UV, "venv", "-q", "--python", version, folder / version], check=False)
    if made.returncode:
        return None
    wanted = ("-c", f"{ROOT / 'constraints.txt'}", "-e", f"{ROOT}", "pytest", "pytest-xdist")
    subprocess.run([UV, "pip", "install", "-q", "--python", python, *wanted], check=True)
    return python


def found(python: Path, engine: str, hash_seed: int, size: int, folder: Path) -> Mapping[str, Any]:
    """What one run of the suite found, without what it cost."""
    written = folder / "results.json"
    written.unlink(missing_ok=True)
    options = (
        *("-q", "-n", "2", "-p", "no:cacheprovider", "--pyargs", "cellspec.conformance"),
        *(f"--engine-backend={engine}", f"--max-examples={size}"),
        *(f"--conformance-json={written}", "--conformance-allow-inconclusive"),
    )
    subprocess.run(
        [python, "-m", "pytest", *options],
        cwd=folder,
        env={"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    results: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    for backend in results["backends"]:
        del backend["evidence"]["cost"]
    return results


def differences(one: Any, two: Any, where: str = "") -> Iterator[str]:
    """Where two results differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        for name in dict.fromkeys((*one, *two)):
            yield from differences(one.get(name), two.get(name), f"{where}.{name}")
    elif json.dumps(one) != json.dumps(two):
        yield f"{where}: {json.dumps(one)[:60]} and {json.dumps(two)[:60]}"


def main() -> int:
    """Run, compare, and say what differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.pythons")
    parser.add_argument("--all", action="store_true", help="every version must be there")
    parser.add_argument("--size", type=int, default=40, help="workloads of each profile")
    args = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        first: dict[str, Mapping[str, Any]] = {}
        for version in PYTHONS:
            python = environment(version, folder)
            if python is None:
                print(f"Python {version} is not on this machine")
                wrong += args.all
                continue
            for engine in ENGINES:
                for hash_seed in (0, 1 + PYTHONS.index(version)):
                    run = found(python, engine, hash_seed, args.size, folder)
                    unlike = list(differences(first.setdefault(engine, run), run))
                    wrong += bool(unlike)
                    broken = [
                        clause
                        for clause, judged in run["backends"][0]["clauses"].items()
                        if judged["failure"]
                    ]
                    said = "; ".join(unlike[:3]) or "as the first run"
                    print(f"Python {version}, {engine}: breaks {', '.join(broken) or '–'}: {said}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
