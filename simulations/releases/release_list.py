"""The list of a release matrix: releases of an engine, and the entry points that the suite uses.

An *entry point* is a backend (`cellspec.conformance.run.backend`). An engine may have several: one
that drives its scheduler directly and so reaches every corner of it, and one that uses the public
interface alone and so meets only situations that a user can meet. The list is a TOML file: a line
adds a release, and a file adds another engine:

    engine = "DataDesigner"
    package = "data-designer"

    [[entry_points]]
    name = "create"
    backend = "cellspec.engines.datadesigner:CreateBackend"
    about = "the public DataDesigner.create"
    public = true

    [[releases]]
    version = "0.9.6"

A release is installed as ``package==version``. `install` names other packages for it, and `over`
names packages that go over those without their dependencies. Lists may still say `doors` for
`entry_points`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cellspec.errors import SpecError

__all__ = ["Engine", "EntryPoint", "Note", "Release", "read_list"]

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EntryPoint(_Strict):
    """One way into the engine.

    Attributes:
        name: its name on the page.
        backend: the backend, as ``module:attribute``.
        about: the part of the engine that it drives, in a few words.
        public: True if it uses the engine's public interface alone.
    """

    name: _Name
    backend: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
    about: str = ""
    public: bool = False


class Release(_Strict):
    """One release.

    Attributes:
        version: its number.
        install: packages to install for it, with dependencies; by default the package at this
            version.
        over: packages that go over those, without dependencies.
        note: a remark on this environment for the page.
    """

    version: _Name
    install: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    note: str = ""


class Note(_Strict):
    """A remark on the page about a clause that breaks.

    Attributes:
        clause: the clause.
        text: the remark, in a sentence or two.
        reference: the change or issue that says more, or "".
    """

    clause: Annotated[str, Field(pattern=r"^[A-Z]+-\d+$")]
    text: str
    reference: str = ""


class Engine(_Strict):
    """An engine, its entry points and its releases. See `simulations.releases.release_list`.

    Attributes:
        engine: its usual name.
        package: its distribution.
        about: how it was run, for the page.
        words: our words, and the words of the engine's maintainers for the same.
        variables: environment variables for its processes.
        entry_points: the backends that drive it.
        releases: its releases, oldest first.
        notes: remarks on clauses that break.
    """

    engine: str
    package: str
    about: str = ""
    words: dict[str, str] = {}
    variables: dict[str, str] = {}
    entry_points: Annotated[tuple[EntryPoint, ...], Field(min_length=1)]
    releases: Annotated[tuple[Release, ...], Field(min_length=1)]
    notes: tuple[Note, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _takes_the_old_word(cls, data: Any) -> Any:
        if isinstance(data, dict) and "doors" in data and "entry_points" not in data:
            return {("entry_points" if key == "doors" else key): data[key] for key in data}
        return data

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Self:
        for what, names in (
            ("entry point", [entry_point.name for entry_point in self.entry_points]),
            ("release", [release.version for release in self.releases]),
        ):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{what} {twice!r} is listed twice")
        return self

    def installs(self, release: Release) -> tuple[str, ...]:
        """The packages to install with dependencies for a release."""
        return release.install or (f"{self.package}=={release.version}",)

    def chosen_releases(self, versions: list[str]) -> tuple[Release, ...]:
        """The releases of these versions, in the list's order; all without any name.

        Raises:
            SpecError: a version that is not on the list.
        """
        known = [release.version for release in self.releases]
        for version in versions:
            if version not in known:
                raise SpecError(
                    f"--release: {version!r} is not on the list; it has {', '.join(known)}"
                )
        return tuple(one for one in self.releases if not versions or one.version in versions)

    def chosen_entry_points(self, names: list[str]) -> tuple[EntryPoint, ...]:
        """The entry points of these names, in the list's order; all without any name.

        Raises:
            SpecError: a name that is not on the list.
        """
        known = [entry_point.name for entry_point in self.entry_points]
        for name in names:
            if name not in known:
                raise SpecError(
                    f"--entry-point: {name!r} is not on the list; it has {', '.join(known)}"
                )
        return tuple(one for one in self.entry_points if not names or one.name in names)


def read_list(path: Path) -> Engine:
    """Read the list of a release matrix.

    Raises:
        SpecError: the file cannot be read or used; one line that names it and the field.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not TOML: {error}") from None
    try:
        return Engine.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SpecError(f"{path}: {place + ': ' if place else ''}{first['msg']}") from None
