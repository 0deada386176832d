"""The workshop of a campaign: environments of releases, and what is run in them.

Everything happens below one folder, which may be removed at any time and costs only time then:

    ENGINE/VERSION/env/          the environment of a release; ready when `ready.json` is beside it
    ENGINE/VERSION/DOOR/         the suite's run: log, `results.json`, `outcome.json`
    ENGINE/VERSION/replays/      the cases of all releases, replayed on this one
    ENGINE/VERSION/scripts/      what the scripts said
    ENGINE/cases/                the cases that are replayed
    suite/DIGEST/                the suite as it was when the campaign began

What is kept is used again if its *key* is still the same: a digest of everything that it depends
on. All releases are judged by one suite, though the checkout may be worked on meanwhile: processes
run a copy of it. Nothing here judges: the suite does, in a process of the release's own
environment. A process that runs out of time is killed together with what it started.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cellspec
from cellspec.errors import SpecError
from cellspec.exit_codes import BAD_INPUT, FINE, INCONCLUSIVE, VIOLATED
from cellspec.files import open_log, write_files
from simulations.releases.release_list import Engine, EntryPoint, Release
from simulations.releases.script_files import Script

__all__ = ["Outcome", "Plan", "Workspace", "checkout", "suite_digest"]

_PINNED = ("hypothesis", "pytest", "msgspec")
"""Pinned as the checkout pins them: what workloads a seed draws depends on them."""

# Run in the environment of a release, by its path.
_REPLAY = Path("simulations/releases/replay.py")
"""Modules of the campaign that no process of a release's environment runs."""

_INSTALL_LIMIT_S = 1800.0
_SCRIPT_LIMIT_S = 120.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How the suite is run.

    Attributes:
        max_examples: workloads of each profile.
        seed: what they are drawn from.
        limit_s: seconds after which the run of one door of one release is killed.
        twice: run it a second time, with another hash seed, and compare.
        again: run it although its results are kept.
    """

    max_examples: int = 100
    seed: int = 0
    limit_s: float = 300.0
    twice: bool = False
    again: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of the suite's run by one door on one release.

    Attributes:
        status: ``"ran"``, ``"no environment"``, ``"died"``, ``"out of time"`` or ``"not run"``.
        detail: why it is not ``"ran"``, in one line.
        found: the suite's results, one backend's; None unless it ran.
        twice: what a second run gave: ``""`` if there was none, ``"equal"``, or the differences.
        suite: digest of the suite that ran.
        rules: the sentences of the clauses that it judged by, by number.
        max_examples: workloads of each profile.
        seed: what they were drawn from.
        seconds: how long it took.
        cpu_seconds: CPU time of its processes.
        key: what the outcome depends on.
    """

    status: str = "not run"
    detail: str = ""
    found: Json | None = None
    twice: str = ""
    suite: str = ""
    rules: dict[str, str] = field(default_factory=dict)
    max_examples: int = 0
    seed: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    key: str = ""

    @property
    def ran(self) -> bool:
        return self.status == "ran"


def checkout() -> Path:
    """The folder of the checkout that cellspec is run from.

    Raises:
        SpecError: cellspec was installed from elsewhere, so that it cannot be installed again.
    """
    root = Path(cellspec.__file__).parents[2]
    if not (root / "pyproject.toml").is_file():
        raise SpecError("the campaign runs from a checkout of cellspec, and this is none")
    return root


def suite_digest(root: Path) -> str:
    """A digest of the suite's sources: what a verdict depends on, beside the engine."""
    digest = hashlib.blake2b(digest_size=8)
    source = root / "src" / "cellspec"
    for path in [*sorted(source.rglob("*")), root / _REPLAY]:
        if path.suffix in (".py", ".toml"):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _copy_suite(root: Path, folder: Path) -> Path:
    """A copy of the suite that nobody edits; where it can be imported from."""
    place = folder / "suite" / suite_digest(root)
    if not place.exists():
        fresh = folder / "suite" / f".{place.name}.{os.getpid()}"
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "src" / "cellspec", fresh / "cellspec", ignore=skipped)
        shutil.copyfile(root / _REPLAY, fresh / _REPLAY.name)
        with contextlib.suppress(OSError):  # another campaign was as quick
            fresh.rename(place)
        shutil.rmtree(fresh, ignore_errors=True)
    return place


def _key(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass
class Workspace:
    """Makes environments and runs processes in them. See `simulations.releases.environments`.

    Attributes:
        engine: the list.
        name: the folder of this engine.
        folder: where all is kept.
        root: the checkout.
        tell: told what happens, a line each.
        source: where the copy of the suite is.
        digest: what it is a copy of.
        rules: the sentences of the clauses in it, by number.
    """

    engine: Engine
    name: str
    folder: Path
    root: Path
    tell: Callable[[str], None] = lambda _: None
    source: Path = field(init=False)
    digest: str = field(init=False)
    rules: dict[str, str] = field(init=False)

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
        """Work on a release alone: another campaign that does waits for its turn."""
        place = self.place(release)
        place.mkdir(parents=True, exist_ok=True)
        with open_log(place / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # Environments

    def environment(self, release: Release) -> str:
        """Make the environment of a release unless it is ready; "" or why it cannot be made."""
        place = self.place(release)
        key = self._environment_key(release)
        ready = place / "ready.json"
        if _read(ready).get("key") == key and self.python(release).exists():
            return ""
        began = time.monotonic()
        ready.unlink(missing_ok=True)
        shutil.rmtree(place / "env", ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        log = place / "install.log"
        log.unlink(missing_ok=True)
        for step in self._install_steps(release):
            code = self._process(step, place, log, _INSTALL_LIMIT_S)
            if code != 0:
                why = "out of time" if code is None else _last_line(log) or f"exit code {code}"
                return _plain(why, self.root, self.folder)
        write_files(place, {ready.name: json.dumps({"key": key}) + "\n"})
        self.tell(f"{release.version}: environment made in {time.monotonic() - began:.0f} s")
        return ""

    def _pins(self) -> list[str]:
        path = self.root / "constraints.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [line for line in lines if line.partition("==")[0] in _PINNED]

    def _environment_key(self, release: Release) -> str:
        return _key(
            self.engine.installs(release),
            release.over,
            self._pins(),
            self._needs(),
            sys.version_info[:2],
        )

    def _needs(self) -> list[Any]:
        """What of the checkout's own description an environment depends on."""
        text = (self.root / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        parts = ("version", "dependencies", "entry-points")
        extra = project["optional-dependencies"]["conformance"]
        return [extra, *(project.get(part) for part in parts)]

    def _install_steps(self, release: Release) -> list[list[str]]:
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

    # The suite

    def suite(self, release: Release, entry_point: EntryPoint, plan: Plan) -> Outcome:
        """Run the suite by one door on one release, unless the results of that are kept."""
        place = self.place(release) / entry_point.name
        key = _key(
            self._environment_key(release),
            self.engine.variables,
            entry_point.backend,
            self.digest,
            plan.max_examples,
            plan.seed,
        )
        kept = self.kept(release, entry_point)
        if not plan.again and kept.ran and kept.key == key and (kept.twice or not plan.twice):
            self.tell(f"{release.version} {entry_point.name}: kept")
            return kept
        began, spent = time.monotonic(), _cpu_seconds()
        outcome = self._suite_run(release, entry_point, plan, place, hash_seed="0")
        if plan.twice and outcome.ran:
            second = self._suite_run(release, entry_point, plan, place / "second", hash_seed="1")
            outcome.twice = _difference(outcome, second)
        outcome.key, outcome.suite, outcome.rules = key, self.digest, self.rules
        outcome.max_examples, outcome.seed = plan.max_examples, plan.seed
        outcome.seconds = round(time.monotonic() - began, 1)
        outcome.cpu_seconds = round(_cpu_seconds() - spent, 1)
        text = json.dumps(asdict(outcome), ensure_ascii=False) + "\n"
        write_files(place, {"outcome.json": text})
        self.tell(
            f"{release.version} {entry_point.name}: {_told(outcome)} "
            f"in {outcome.seconds:.0f} s, {outcome.cpu_seconds:.0f} s of CPU"
            + (f", twice: {outcome.twice}" if outcome.twice else "")
        )
        return outcome

    def kept(self, release: Release, entry_point: EntryPoint) -> Outcome:
        """What is kept of the last run by this door, whatever suite it was."""
        data = _read(self.place(release) / entry_point.name / "outcome.json")
        try:
            return Outcome(**data)
        except TypeError:
            return Outcome()

    def without_environment(self, release: Release, entry_point: EntryPoint, why: str) -> Outcome:
        """The outcome of a run that could not be tried; kept like any other."""
        outcome = Outcome("no environment", why, suite=self.digest)
        text = json.dumps(asdict(outcome), ensure_ascii=False) + "\n"
        write_files(self.place(release) / entry_point.name, {"outcome.json": text})
        return outcome

    def _suite_run(
        self, release: Release, entry_point: EntryPoint, plan: Plan, place: Path, *, hash_seed: str
    ) -> Outcome:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        # Without a file of its own pytest would take the one of the checkout around this folder.
        write_files(place, {"pytest.ini": "[pytest]\n"})
        command = [
            str(self.python(release)),
            *("-m", "pytest", "-q", "-c", "pytest.ini", "-p", "no:cacheprovider"),
            *("--tb=no", "--pyargs", "cellspec.conformance", "--keep-going"),
            f"--engine-backend={entry_point.backend}",
            f"--max-examples={plan.max_examples}",
            f"--seed={plan.seed}",
            "--conformance-report=report",
            "--conformance-json=results.json",
        ]
        log = place / "log.txt"
        code = self._process(command, place, log, plan.limit_s, {"PYTHONHASHSEED": hash_seed})
        if code is None:
            return Outcome("out of time", f"it was ended after {plan.limit_s:g} s")
        found = _read(place / "results.json")
        if code not in (FINE, VIOLATED, BAD_INPUT, INCONCLUSIVE) or not found.get("backends"):
            why = _last_line(log) or "it said nothing"
            return Outcome("died", _plain(f"exit code {code}: {why}", self.root, self.folder))
        backend = found["backends"][0]
        for path in sorted((place / "report" / "cases").glob("*.json")):
            case = _read(path)
            failure = backend["clauses"].get(case.get("clause"), {}).get("failure")
            if failure is not None:
                failure["waived"] = case["waived"]
        return Outcome("ran", found=_settled(backend, self.root, self.folder))

    # Replays

    def replays(
        self,
        release: Release,
        entry_point: EntryPoint,
        cases: Mapping[str, str],
        limit_s: float,
        *,
        again: bool,
    ) -> dict[str, Json]:
        """Replay cases by one door on one release; what each did, by its name.

        Args:
            release: the release.
            door: the door.
            cases: the text of each case file, by name.
            limit_s: seconds for one case; one that takes longer is ended and the others go on.
            again: replay although the results are kept.
        """
        place = self.place(release) / "replays"
        stem = f"{entry_point.name}.json"
        key = _key(
            self._environment_key(release), self.engine.variables, entry_point.backend, self.digest
        )
        kept = _read(place / stem)
        done: dict[str, Json] = {}
        if kept.get("key") == key and not again:
            done = {name: each for name, each in kept["cases"].items() if name in cases}
        left = [name for name in cases if name not in done]
        if not left:
            return done
        write_files(self.folder / self.name / "cases", {name: cases[name] for name in left})
        began = time.monotonic()
        done |= self._replay(release, entry_point, left, limit_s)
        write_files(place, {stem: json.dumps({"key": key, "cases": done}) + "\n"})
        took_s = time.monotonic() - began
        self.tell(
            f"{release.version} {entry_point.name}: {len(left)} cases replayed in {took_s:.0f} s"
        )
        return done

    def kept_replays(
        self, release: Release, entry_point: EntryPoint, cases: Mapping[str, str]
    ) -> dict[str, Json]:
        """What is kept of replays of these cases, whatever suite it was."""
        kept = _read(self.place(release) / "replays" / f"{entry_point.name}.json")
        return {name: each for name, each in kept.get("cases", {}).items() if name in cases}

    def _replay(
        self, release: Release, entry_point: EntryPoint, names: list[str], limit_s: float
    ) -> dict[str, Json]:
        place = self.place(release) / "replays"
        place.mkdir(parents=True, exist_ok=True)
        out = place / f"{entry_point.name}.jsonl"
        out.unlink(missing_ok=True)
        done: dict[str, Json] = {}
        left = list(names)
        while left:
            command = [
                str(self.python(release)),
                *("-P", str(self.source / _REPLAY.name)),
                f"--backend={entry_point.backend}",
                f"--out={out}",
                f"--limit-s={limit_s}",
                *(str(self.folder / self.name / "cases" / name) for name in left),
            ]
            log = place / f"{entry_point.name}.log"
            limit = 60 + limit_s * len(left)
            code = self._process(command, place, log, limit, {"PYTHONHASHSEED": "0"})
            lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
            for line in lines:
                each = json.loads(line)
                each["detail"] = _plain(each["detail"], self.root, self.folder)
                done[each.pop("case")] = each
            left = [name for name in left if name not in done]
            if code == 2:
                # The backend cannot be made, or a case cannot be read: no use to try again.
                why = _plain(_last_line(log), self.root, self.folder)
                done |= {name: _died(why) for name in left}
                return done
            if left:
                # The one that it died of is the first that has no line.
                why = "no end" if code in (None, 124) else f"exit code {code}: {_last_line(log)}"
                done[left.pop(0)] = _died(_plain(why, self.root, self.folder))
        return done

    # Scripts

    def script(self, release: Release, script: Script, *, again: bool) -> Json:
        """Run a stand-alone script in a release's environment: what it said, and whether it shows.

        A script that shows its defect ends with exit code 1 *and* says so in a line that begins
        with ``DEFECT``; exit code 1 alone is what any error gives. Exit code 2 with a line that
        begins with ``ABSENT`` says that the release has nothing of the kind.
        """
        place = self.place(release) / "scripts"
        place.mkdir(parents=True, exist_ok=True)
        path = place / script.file
        key = _key(self._environment_key(release), self.engine.variables, script.text)
        kept = _read(place / f"{path.stem}.json")
        if kept.get("key") == key and not again:
            return {name: kept[name] for name in ("says", "detail")}
        write_files(place, {script.file: script.text})
        log = place / f"{path.stem}.log"
        log.unlink(missing_ok=True)
        began = time.monotonic()
        command = [str(self.python(release)), "-P", "-s", str(path)]
        alone = {"PYTHONHASHSEED": "0", "PYTHONPATH": ""}
        code = self._process(command, place, log, _SCRIPT_LIMIT_S, alone)
        output = log.read_text(encoding="utf-8", errors="replace")
        said = re.findall(r"^(?:DEFECT|ABSENT).*", output, re.MULTILINE) or [""]
        if code == 1 and said[-1].startswith("DEFECT"):
            result = {"says": "shows", "detail": said[-1]}
        elif code == 2 and said[-1].startswith("ABSENT"):
            result = {"says": "absent", "detail": said[-1]}
        elif code == 0:
            result = {"says": "fine", "detail": ""}
        else:
            why = "no end" if code is None else f"exit code {code}: {_last_line(log)}"
            result = {"says": "failed", "detail": _plain(why, self.root, self.folder)}
        write_files(place, {f"{path.stem}.json": json.dumps({"key": key, **result}) + "\n"})
        took_s = time.monotonic() - began
        self.tell(f"{release.version} {path.name}: {result['says']} in {took_s:.1f} s")
        return result

    def kept_script(self, release: Release, script: Script) -> Json:
        """What is kept of a script's last run; empty if it never ran."""
        kept = _read(self.place(release) / "scripts" / f"{Path(script.file).stem}.json")
        return {name: kept[name] for name in ("says", "detail") if name in kept}

    # Processes

    def _process(
        self,
        command: Sequence[str],
        folder: Path,
        log: Path,
        limit_s: float,
        more: Mapping[str, str] | None = None,
    ) -> int | None:
        """Run a command to its end, its output in `log`; its exit code, or None if ended by us."""
        paths = [str(self.source), self.engine.variables.get("PYTHONPATH", "")]
        variables = {
            **os.environ,
            **self.engine.variables,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            **(more or {}),
        }
        # What pytest is told for this checkout's own tests is not meant for the suite.
        variables.pop("PYTEST_ADDOPTS", None)
        with open_log(log) as output:
            child = subprocess.Popen(
                list(command),
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return child.wait(limit_s)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def _cpu_seconds() -> float:
    """CPU time of all processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _uv() -> list[str]:
    """The command of uv, if it is there: the module of this Python, or else the program."""
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    program = shutil.which("uv")
    return [program] if program else []


def _died(why: str) -> Json:
    said = {"says": "died", "clause": "", "detail": why, "adapter": "", "first": ""}
    return {**said, "changes": []}


def _read(path: Path) -> Json:
    """A JSON object that was kept; empty if there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    told = [line.strip() for line in lines if line.strip()]
    return told[-1][:300] if told else ""


def _plain(text: str, root: Path, folder: Path) -> str:
    """The text without places of this machine."""
    for place in (str(folder), str(root)):
        text = text.replace(f"{place}/", "").replace(place, ".")
    text = re.sub(r"[\w./+-]*/site-packages/", "", text)
    text = re.sub(r"[\w./+-]*/lib/python3\.\d+/", "", text)
    text = re.sub(r"(?:/dev/shm|/tmp|/var/tmp)/cellspec-\w+", "…", text)
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x…", text)


def _settled(value: Any, root: Path, folder: Path) -> Any:
    """Results without what differs from machine to machine: places, and what things cost."""
    if isinstance(value, str):
        return _plain(value, root, folder)
    if isinstance(value, list):
        return [_settled(item, root, folder) for item in value]
    if isinstance(value, dict):
        return {key: _settled(item, root, folder) for key, item in value.items() if key != "cost"}
    return value


def _difference(first: Outcome, second: Outcome) -> str:
    """``"equal"``, or which verdicts of two runs differ."""
    if not second.ran or first.found is None or second.found is None:
        return f"the second run: {second.status}"
    one, two = first.found["clauses"], second.found["clauses"]
    other = [
        f"{number} {one.get(number, {}).get('verdict')}, then {two.get(number, {}).get('verdict')}"
        for number in sorted({*one, *two})
        if one.get(number, {}).get("verdict") != two.get(number, {}).get("verdict")
    ]
    if other:
        return "; ".join(other)
    return "equal" if first.found == second.found else "equal verdicts"


def _told(outcome: Outcome) -> str:
    if outcome.found is None:
        return f"{outcome.status}: {outcome.detail}"
    words = [entry["verdict"] for entry in outcome.found["clauses"].values()]
    counts = {word: words.count(word) for word in sorted(set(words))}
    return ", ".join(f"{count} {word}" for word, count in counts.items())
