"""The folder of a sweep: each run as soon as it is made, and all that says whose runs they are.

===================  ===============================================================================
file                 contents
===================  ===============================================================================
``manifest.json``    the sweep, and the versions by which its runs were made and judged
``points.jsonl``     a line for each point: its number, its fields, and the digest of its resolved
                     scenario with seed 0, or why it cannot be run
``runs/1-of-1.jsonl``  a line for each run of a shard: digest, seed and figures, or an error
``runs.csv``         a line for each run, in the order of points and seeds
``summary.csv``      a line for each figure of each point, with its interval
===================  ===============================================================================

The last two are worked out of the others. A line of a run is added, and pushed to the disk, before
the next one: a process that is killed loses the runs under way, and at most half a line, which is
dropped. One process at a time writes to the file of a shard; any number may write to other shards
in the same folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from cellspec.clauses import clause_set_data
from cellspec.errors import SpecError
from cellspec.files import (
    check_folder,
    locked,
    open_log,
    path_of,
    remove_leftovers,
    sync_file,
    sync_folder,
    write_files,
)
from sim.experiments.sweep.derived import DERIVED
from sim.experiments.sweep.plan import WHOLE, Run
from sim.experiments.sweep.points import Point, Sweep, fields_of
from sim.experiments.sweep.spec import SweepSpec, canonical

__all__ = ["MANIFEST", "POINTS", "SweepFolder", "keep", "manifest_of", "sweep_words"]

MANIFEST, POINTS, RUNS = "manifest.json", "points.jsonl", "runs"
_LOCK = ".lock"
_WRITTEN = (MANIFEST, POINTS, *DERIVED)
FORMAT = 1

_OTHERS = {
    "format": "was written in another format",
    "cellspec": "was made by another version of cellspec ({there}; this is {here})",
    "clauses": "was judged by another set of clauses ({there}; this is {here})",
    "checked": "was made {there}, and this sweep is {here}",
    "scenario": "holds runs of another scenario, or of other fields under set",
    "fields": "is a sweep over other fields ({there}; this is {here})",
}
"""What of a manifest must stay the same, and what is said where it does not."""

_DEPENDENCIES = ("numpy", "pydantic", "PyYAML", "simpy")


def manifest_of(sweep: Sweep, *, checked: bool) -> dict[str, Any]:
    """What the folder of a sweep says of it.

    Args:
        sweep: the sweep.
        checked: its runs judge time too.
    """
    # Not exclude_none, which would take the nulls out of the values of points too.
    spec = sweep.spec.model_dump(mode="json", by_alias=True)
    return {
        "format": FORMAT,
        "cellspec": version("cellspec"),
        "clauses": clause_set_data(),
        "name": sweep.name,
        "scenario": sweep.identity,
        "fields": list(sweep.spec.fields),
        "checked": checked,
        "sweep": {key: value for key, value in spec.items() if value is not None},
    }


def sweep_words(manifest: Mapping[str, Any]) -> str:
    """What a manifest says of the sweep, in its order, and not of the machine."""
    return json.dumps({key: manifest.get(key) for key in (*_OTHERS, "name", "sweep")})


class SweepFolder:
    """The folder of a sweep; it can be read where it cannot be written to.

    Args:
        given: its path.

    Raises:
        SpecError: the path is empty.
    """

    def __init__(self, given: str | Path) -> None:
        self.path = path_of(given)

    # Whose runs these are

    def begin(
        self, manifest: Mapping[str, Any], points: Sequence[Point], shard: str = WHOLE.name()
    ) -> None:
        """Write down the sweep, or find that the folder is its own.

        Points and replications may be added and taken away: the runs that are there stay.

        Args:
            manifest, points: of the sweep.
            shard: the stem of the file that is about to be added to. If another process adds to it,
                nothing is changed under its feet.

        Raises:
            SpecError: the folder holds something else, cannot be written to, or another process
                adds to the shard; one line that says what to do.
        """
        check_folder(self.path)
        with self._alone():
            if not self.is_begun:
                if any(one.name != _LOCK for one in self.path.iterdir()):
                    raise SpecError(
                        f"{self.path}: holds files, and no {MANIFEST} of a sweep; give --out a new "
                        "folder, or an empty one"
                    )
            else:
                self.check(manifest, points)
                with self.adding(shard):
                    pass
                kept = self.manifest()
                if sweep_words(kept) == sweep_words(manifest):
                    manifest = kept
            made_with = {
                "python": platform.python_version(),
                "architecture": platform.machine(),
                "dependencies": {name: version(name) for name in _DEPENDENCIES},
            }
            whole = {**manifest, **{k: manifest.get(k, v) for k, v in made_with.items()}}
            texts = {
                MANIFEST: json.dumps(whole, indent=2, ensure_ascii=False) + "\n",
                POINTS: "".join(json.dumps(point.data()) + "\n" for point in points),
            }
            write_files(self.path, {k: v for k, v in texts.items() if v != self._text(k)})

    @property
    def is_begun(self) -> bool:
        """Whether it holds a sweep."""
        return (self.path / MANIFEST).is_file()

    def check(self, manifest: Mapping[str, Any], points: Sequence[Point]) -> None:
        """Find that the folder is that of a sweep; nothing is written.

        Raises:
            SpecError: the folder holds another sweep; one line that says what to do.
        """
        there = self.manifest()
        for key, text in _OTHERS.items():
            if there.get(key) != manifest[key]:
                found = text.format(there=_words(there.get(key)), here=_words(manifest[key]))
                raise SpecError(f"{self.path}: {found}; give --out another folder")
        digests = {_key(one.fields): one for one in self.points() if one.digest is not None}
        for point in points:
            old = digests.get(_key(point.fields))
            if old is not None and point.digest not in (old.digest, None):
                raise SpecError(
                    f"{self.path}: point {point.number} ({point.words()}) is another scenario now: "
                    f"digest {old.digest}, and {point.digest} today; give --out another folder"
                )

    def _text(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{self.path / name}: cannot be read: {error}") from None

    def manifest(self) -> dict[str, Any]:
        """What the folder says of its sweep.

        Raises:
            SpecError: it holds no sweep.
        """
        text = self._text(MANIFEST)
        if text is None:
            raise SpecError(f"{self.path}: is no folder of a sweep: it has no {MANIFEST}")
        try:
            found = json.loads(text)
            if not isinstance(found, dict) or "sweep" not in found:
                raise ValueError
        except ValueError:
            raise SpecError(f"{self.path / MANIFEST}: is no manifest of a sweep") from None
        return found

    def spec(self) -> SweepSpec:
        """The sweep file, as the manifest has it.

        Raises:
            SpecError: it holds no sweep, or one of another version.
        """
        manifest = self.manifest()
        if manifest.get("format") != FORMAT:
            raise SpecError(f"{self.path}: {_OTHERS['format']}: {manifest.get('format')!r}")
        return SweepSpec.model_validate(manifest["sweep"])

    def points(self) -> list[Point]:
        """All points, in the order of their numbers.

        Raises:
            SpecError: the file cannot be read.
        """
        found = []
        for number, line in enumerate((self._text(POINTS) or "").splitlines(), 1):
            try:
                data = json.loads(line)
                found.append(
                    Point(data["point"], data["fields"], data.get("digest"), data.get("error"))
                )
            except (ValueError, KeyError, TypeError):
                raise SpecError(f"{self.path / POINTS}:{number}: is no point of a sweep") from None
        return found

    def whole(self) -> tuple[SweepSpec, list[Point]]:
        """The sweep, as the manifest has it, and its points.

        Raises:
            SpecError: one of them cannot be read, or they are of two sweeps, because a process was
                killed between the two files.
        """
        spec, points = self.spec(), self.points()
        if [_key(one.fields) for one in points] != [_key(one) for one in fields_of(spec)]:
            raise SpecError(
                f"{self.path / POINTS}: its points are not those of {MANIFEST}: a process was "
                "killed as it began; give the sweep file and this folder once more"
            )
        return spec, points

    # Runs

    def runs(self) -> dict[str, dict[int, Run]]:
        """Every run of the folder, of whichever shard; a torn last line is left out.

        Raises:
            SpecError: a file cannot be read, or two runs that should be equal are not.
        """
        found: dict[str, dict[int, Run]] = {}
        for path in sorted((self.path / RUNS).glob("*.jsonl")):
            for number, line in enumerate(_whole_lines(path).splitlines(), 1):
                try:
                    digest, seed, run = _read(line)
                except (ValueError, KeyError, TypeError):
                    text = "is no run of a sweep; take the line away, and its run is made again"
                    raise SpecError(f"{path}:{number}: {text}") from None
                keep(found, digest, seed, run, f"{path}:{number}")
        return found

    @contextlib.contextmanager
    def adding(self, shard: str) -> Iterator[Callable[[str, int, Run], None]]:
        """Add runs to the file of a shard: each is on the disk when the call returns.

        Args:
            shard: the stem of the file.

        Yields:
            A function of a digest, a seed, and a run.

        Raises:
            SpecError: another process adds to it, or storage refuses.
        """
        path = self.path / RUNS / f"{shard}.jsonl"
        with contextlib.ExitStack() as stack:
            try:
                path.parent.mkdir(exist_ok=True)
                file = stack.enter_context(open_log(path))
                _hold(stack, file, path)
                file.truncate(len(_whole_lines(path)))
                sync_folder(path.parent)
            except OSError as error:
                raise _not_written(path, error) from None

            def add(digest: str, seed: int, run: Run) -> None:
                line = _line(digest, seed, run)
                try:
                    while line:
                        # Without a buffer: what could not be written is not tried again at the end.
                        line = line[os.write(file.fileno(), line) :]
                    sync_file(file)
                except OSError as error:
                    raise _not_written(path, error) from None

            yield add

    # What is worked out of them

    def write(self, contents: Callable[[], Mapping[str, str | bytes]]) -> None:
        """Write files that are worked out of the runs, one process at a time.

        Args:
            contents: gives the files; it is called when no other process writes any.

        Raises:
            SpecError: storage refuses.
        """
        with self._alone():
            write_files(self.path, contents())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process writes a file of the whole folder."""
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open_log(self.path / _LOCK))
                stack.enter_context(locked(file, wait=True))
                remove_leftovers(self.path, _WRITTEN)
            except OSError as error:
                raise _not_written(self.path, error) from None
            yield


def keep(runs: dict[str, dict[int, Run]], digest: str, seed: int, run: Run, where: object) -> None:
    """Add a run to others; it must be equal to one that is there.

    Args:
        runs: by digest and seed.
        digest, seed, run: of the run.
        where: it comes from.

    Raises:
        SpecError: it has other figures than the one that is there.
    """
    if runs.setdefault(digest, {}).setdefault(seed, run) != run:
        raise SpecError(
            f"{where}: seed {seed} of {digest} was made twice, with different figures: cellspec's "
            "dependencies had other versions; make all runs with the same ones"
        )


def _hold(stack: contextlib.ExitStack, file: BinaryIO, path: Path) -> None:
    """Keep other processes away from the file of a shard, until the stack is left.

    Raises:
        SpecError: one of them adds to it.
    """
    try:
        stack.enter_context(locked(file))
    except BlockingIOError:
        raise SpecError(
            f"{path}: another process adds to it; wait for its end, or give each process a --shard "
            "of its own"
        ) from None


def _not_written(path: Path, error: OSError) -> SpecError:
    return SpecError(f"{path}: cannot be written: {error.strerror or error}")


def _whole_lines(path: Path) -> bytes:
    """The content of a file up to the end of its last whole line.

    Raises:
        SpecError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    return content[: content.rfind(b"\n") + 1]


def _line(digest: str, seed: int, run: Run) -> bytes:
    data: dict[str, Any] = {"digest": digest, "seed": seed}
    if run.error is None:
        data["figures"] = dict(run.figures)
    else:
        data["error"] = run.error
        if run.violated:
            data["violated"] = True
    return json.dumps(data, allow_nan=False).encode() + b"\n"


def _read(line: bytes) -> tuple[str, int, Run]:
    data = json.loads(line)
    digest, seed, error = data["digest"], data["seed"], data.get("error")
    figures = data["figures"] if error is None else {}
    if not (isinstance(digest, str) and isinstance(seed, int) and isinstance(figures, dict)):
        raise TypeError
    return digest, seed, Run(figures, error, data.get("violated", False))


def _key(fields: Mapping[str, Any]) -> str:
    return canonical(dict(fields))


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "with time judged" if value else "with --no-check"
    if isinstance(value, dict):
        return f"version {value.get('version')}, digest {value.get('digest')}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
