"""The workspace of a release matrix: a folder with an environment for each release.

Everything is kept below one folder. You may remove it at any time; the next run makes it again:

    ENGINE/VERSION/env/          the environment of a release; ready when `ready.json` is beside it
    ENGINE/VERSION/ENTRY-POINT/seed-N-to-M/
                                 the suite's run: log, `results.json`, `outcome.json`
    ENGINE/VERSION/replays/      the cases of all releases, replayed on this one
    ENGINE/VERSION/scripts/      the scripts as they ran, and their output
    ENGINE/VERSION/mended/CAUSE/ the modules of the newest release with a cause mended
    suite/DIGEST/                the suite as it was when the run of the matrix began

A kept result is used again while its *key* is the same: a digest of everything that it depends on.
One copy of the suite, taken at the beginning, judges all releases, so you may edit the checkout
during a run. `Workspace` makes environments and runs processes in them; the modules `suite_runs`,
`replay_runs` and `script_runs` say which.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cellspec
from cellspec.errors import SpecError
from cellspec.files import open_log, write_files
from simulations.releases.processes import last_line, plain, read_object, run_process, settled
from simulations.releases.release_list import Engine, Release

__all__ = ["REPLAY", "Workspace", "checkout", "key_of", "suite_digest"]

_PINNED = ("hypothesis", "pytest", "msgspec")
"""Pinned as the checkout pins them, because the draws of a seed depend on them."""

REPLAY = Path("simulations/releases/replay.py")
"""The program that replays cases; it is copied with the suite and runs by its path."""

_INSTALL_LIMIT_S = 1800.0


def checkout() -> Path:
    """The folder of the checkout that cellspec is run from.

    Raises:
        SpecError: cellspec was installed from elsewhere, so that it cannot be installed again.
    """
    root = Path(cellspec.__file__).parents[2]
    if not (root / "pyproject.toml").is_file():
        raise SpecError("the release matrix runs from a checkout of cellspec, and this is none")
    return root


def suite_digest(root: Path) -> str:
    """A digest of the suite's sources: the part of a verdict's key beside the engine."""
    summary = hashlib.blake2b(digest_size=8)
    source = root / "src" / "cellspec"
    for path in [*sorted(source.rglob("*")), root / REPLAY]:
        if path.suffix in (".py", ".toml"):
            summary.update(path.relative_to(root).as_posix().encode() + b"\0")
            summary.update(path.read_bytes() + b"\0")
    return summary.hexdigest()


def _copy_suite(root: Path, folder: Path) -> Path:
    """Copy the suite into the workspace; the folder that it can be imported from."""
    place = folder / "suite" / suite_digest(root)
    if not place.exists():
        fresh = folder / "suite" / f".{place.name}.{os.getpid()}"
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "src" / "cellspec", fresh / "cellspec", ignore=skipped)
        shutil.copyfile(root / REPLAY, fresh / REPLAY.name)
        with contextlib.suppress(OSError):  # another run was as quick
            fresh.rename(place)
        shutil.rmtree(fresh, ignore_errors=True)
    return place


def key_of(*parts: object) -> str:
    """A digest of the values that a kept result depends on."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(slots=True)
class _Turn:
    """The lock on the folder of a release, which the threads of this process share."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


@dataclass
class Workspace:
    """Makes environments of releases and runs processes in them.

    Attributes:
        engine: the list.
        name: the folder of this engine.
        folder: where everything is kept.
        root: the checkout.
        notify: called with one line for each thing that happens.
        source: where the copy of the suite is.
        digest: digest of that copy.
        rules: the sentences of the clauses in that copy, by number.
    """

    engine: Engine
    name: str
    folder: Path
    root: Path
    notify: Callable[[str], None] = lambda _: None
    source: Path = field(init=False)
    digest: str = field(init=False)
    rules: dict[str, str] = field(init=False)
    _turns: dict[str, _Turn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        self.source = _copy_suite(self.root, self.folder)
        self.digest = self.source.name
        registry = (self.source / "cellspec" / "clauses.toml").read_text(encoding="utf-8")
        self.rules = {
            number: clause["text"] for number, clause in tomllib.loads(registry)["clause"].items()
        }

    def place(self, release: Release) -> Path:
        """The folder of a release."""
        return self.folder / self.name / release.version

    def python(self, release: Release) -> Path:
        """The interpreter of a release's environment."""
        return self.place(release) / "env" / "bin" / "python"

    @contextlib.contextmanager
    def at(self, release: Release) -> Iterator[None]:
        """Work on a release: another run of the matrix waits for its turn, a thread does not."""
        place = self.place(release)
        place.mkdir(parents=True, exist_ok=True)
        turn = self._turns.setdefault(release.version, _Turn())
        with turn.guard:
            turn.users += 1
            if turn.users == 1:
                lock = turn.closing.enter_context(open_log(place / "lock"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with turn.guard:
                turn.users -= 1
                if not turn.users:
                    turn.closing.close()

    def make_environment(self, release: Release) -> str:
        """Make the environment of a release unless it is ready.

        Returns:
            "" if the environment is ready, else the reason in one line.
        """
        place = self.place(release)
        key = self.environment_key(release)
        ready = place / "ready.json"
        if read_object(ready).get("key") == key and self.python(release).exists():
            return ""
        began = time.monotonic()
        ready.unlink(missing_ok=True)
        shutil.rmtree(place / "env", ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        log = place / "install.log"
        log.unlink(missing_ok=True)
        for step in self.install_steps(release):
            code = self.run(step, place, log, _INSTALL_LIMIT_S)
            if code != 0:
                why = "out of time" if code is None else last_line(log) or f"exit code {code}"
                return self.plain(why)
        write_files(place, {ready.name: json.dumps({"key": key}) + "\n"})
        self.notify(f"{release.version}: environment made in {time.monotonic() - began:.0f} s")
        return ""

    def environment_key(self, release: Release) -> str:
        """The key of a release's environment."""
        return key_of(
            self.engine.installs(release),
            release.over,
            self._pins(),
            self._needs(),
            sys.version_info[:2],
        )

    def install_steps(self, release: Release) -> list[list[str]]:
        """The commands that make a release's environment, in order."""
        env = str(self.place(release) / "env")
        python = str(self.python(release))
        mine = ["-e", f"{self.root}[conformance]", *self._pins(), *self.engine.installs(release)]
        uv = _uv()
        if uv:
            make = [*uv, "venv", "-q", "--python", sys.executable, env]
            install = [*uv, "pip", "install", "-q", "--python", python]
        else:
            make = [sys.executable, "-m", "venv", env]
            install = [python, "-m", "pip", "install", "-q"]
        steps = [make, [*install, *mine]]
        if release.over:
            steps.append([*install, "--no-deps", *release.over])
        return steps

    def _pins(self) -> list[str]:
        path = self.root / "constraints.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [line for line in lines if line.partition("==")[0] in _PINNED]

    def _needs(self) -> list[Any]:
        """The parts of the checkout's own description that an environment depends on."""
        text = (self.root / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        parts = ("version", "dependencies", "entry-points")
        extra = project["optional-dependencies"]["conformance"]
        return [extra, *(project.get(part) for part in parts)]

    def run(
        self,
        command: Sequence[str],
        folder: Path,
        log: Path,
        limit_s: float,
        more: Mapping[str, str] | None = None,
        packages: Path | None = None,
    ) -> int | None:
        """Run a command with the list's variables and the copy of the suite; see `run_process`.

        Modules below `packages` go before all others.
        """
        first = "" if packages is None else str(packages)
        paths = [first, str(self.source), self.engine.variables.get("PYTHONPATH", "")]
        variables = {
            **self.engine.variables,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            **(more or {}),
        }
        return run_process(command, folder, log, limit_s, variables)

    def plain(self, text: str) -> str:
        """The text without places of this machine."""
        return plain(text, self.root, self.folder)

    def settled(self, value: Any) -> Any:
        """Results without the parts that differ by machine."""
        return settled(value, self.root, self.folder)


def _uv() -> list[str]:
    """The command of uv: the module of this Python, or else the program; empty without uv."""
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    program = shutil.which("uv")
    return [program] if program else []
