"""The registered backends: the entry points of the group ``cellspec.backends``.

A distribution gives its adapter a short name in its own ``pyproject.toml``::

    [project.entry-points."cellspec.backends"]
    my-engine = "my_package.adapter:Backend"

From then on ``--engine-backend my-engine`` finds it, and ``cellspec backends`` lists it. The value
may end with an extra of the distribution, as in ``"my_package.adapter:Backend [engine]"``: the
listing then says whether that extra is installed, from metadata alone.

Everything here reads metadata of installed distributions. Only
`cellspec.conformance.run.loading.load_backend` and `declared_capabilities` import a backend.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution
from importlib.metadata import entry_points as entry_points_of
from typing import Any, Final

from cellspec.errors import SpecError
from cellspec.text import closest

__all__ = [
    "GROUP",
    "REFERENCE",
    "Registered",
    "backend_path",
    "canonical_path",
    "declared_capabilities",
    "has_module",
    "registered_backends",
]

GROUP: Final = "cellspec.backends"
"""The group of entry points that a distribution registers its backends in."""

REFERENCE: Final = "cellspec.engines.reference:ReferenceBackend"
"""The reference engine: cases that name no engine are replayed on it."""

_ALIASES: Final = {
    "cellspec.conformance.reference:ReferenceBackend": REFERENCE,
    "cellspec.conformance.reference:ThreadBackend": "cellspec.engines.reference:ThreadBackend",
    "sim.fuzz.machine:MachineBackend": "cellspec.engines.machine:MachineBackend",
}
"""Paths of version 0.1 and where those backends are now; the next version drops this table."""


@dataclass(frozen=True, slots=True, order=True)
class Registered:
    """A backend that an installed distribution registers.

    Attributes:
        name: its short name.
        path: its ``module:attribute``.
        distribution: the distribution that registers it, with its version.
        extras: the extras of that distribution that the backend needs.
        missing: the distributions of those extras that are not installed.
    """

    name: str
    path: str
    distribution: str
    extras: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def registered_backends() -> list[Registered]:
    """Every registered backend, by name; a name that is registered twice is listed twice."""
    return sorted(map(_registered, entry_points_of(group=GROUP)))


def _registered(point: EntryPoint) -> Registered:
    owner = point.dist
    extras = tuple(point.extras)
    return Registered(
        name=point.name,
        path=f"{point.module}:{point.attr}",
        distribution="?" if owner is None else f"{owner.name} {owner.version}",
        extras=extras,
        missing=() if owner is None else _missing(owner, extras),
    )


def _missing(owner: Distribution, extras: tuple[str, ...]) -> tuple[str, ...]:
    """The distributions that some extras bring, and that are not installed here."""
    wanted = []
    for requirement in owner.requires or ():
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra\s*==\s*["']([\w.-]+)["']""", requirement)
        if name is not None and extra is not None and extra[1] in extras:
            wanted.append(name[0])
    return tuple(name for name in wanted if not _is_installed(name))


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def canonical_path(path: str) -> str:
    """The present path of a backend that may be named by its path of version 0.1."""
    return _ALIASES.get(path, path)


def backend_path(spec: str, option: str) -> str:
    """The ``module:attribute`` that a user's word for a backend means, found without an import.

    Args:
        spec: ``module:attribute``, or a registered name, which is without a colon.
        option: where the word comes from; messages begin with it.

    Raises:
        SpecError: a path with an empty half, or a name that is not registered, or registered twice.
    """
    module, colon, attribute = spec.partition(":")
    if colon:
        if not module or not attribute:
            raise SpecError(f"{option}: expected module:attribute, got {spec!r}")
        return canonical_path(spec)
    found = registered_backends()
    named = [one for one in found if one.name == spec]
    if len(named) == 1:
        return named[0].path
    if named:
        both = " and ".join(f"{one.path} of {one.distribution}" for one in named)
        raise SpecError(f"{option}: {spec!r} is registered twice: {both}; give module:attribute")
    known = sorted({one.name for one in found})
    near = closest(spec, known, 0.6)
    hint = f"did you mean {near!r}? " if near else ""
    raise SpecError(
        f"{option}: expected module:attribute, got {spec!r}, which no distribution registers: "
        f"{hint}registered are {', '.join(known) or 'none'}"
    )


def has_module(backend: Registered) -> bool:
    """Whether the module of a backend is found here; only the packages around it are imported."""
    try:
        return importlib.util.find_spec(backend.path.partition(":")[0]) is not None
    except ModuleNotFoundError:
        return False
    # Whatever else a stranger's package does when it is imported, its module may be there.
    except (Exception, SystemExit):
        return True


def declared_capabilities(backend: Registered) -> frozenset[str] | None:
    """The capabilities that a backend's class declares, without making a backend.

    The module is imported, unless a distribution that it needs is absent and the module is not
    cellspec's own: adapters of cellspec import their engine only when a backend is made.

    Returns:
        None if they are known only of a made backend, or the module cannot be imported here.
    """
    module, _, path = backend.path.partition(":")
    if backend.missing and not module.startswith("cellspec."):
        return None
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    # Whatever a stranger's module does when it is imported, the list goes on.
    except (Exception, SystemExit):
        return None
    declared = getattr(found, "capabilities", None)
    return frozenset(declared) if isinstance(declared, frozenset | set | tuple | list) else None
