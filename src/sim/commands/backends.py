"""``cellspec backends``: the engines that the suite can judge here, and their extras."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cellspec.exit_codes import FINE, put
from sim.arguments import add_format

if TYPE_CHECKING:
    from cellspec.conformance.run.registered import Registered

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    backends = commands.add_parser(
        "backends",
        help="list the engines that the suite can judge here",
        description="List the backends that installed packages register: the name that "
        "--engine-backend and --backend take, its module:attribute, what it needs, and its "
        "capabilities. A backend of yours need not be registered: give its module:attribute.",
    )
    add_format(backends, "text")
    backends.set_defaults(command=_backends)


def _backends(args: argparse.Namespace) -> int:
    import json

    from cellspec.conformance.run.backend import CAPABILITIES
    from cellspec.conformance.run.registered import declared_capabilities, registered_backends

    plain = []
    found = registered_backends()
    for one in found:
        declared = declared_capabilities(one)
        plain.append(
            {
                "name": one.name,
                "backend": one.path,
                "from": one.distribution,
                "extras": list(one.extras),
                "missing": list(one.missing),
                "capabilities": None
                if declared is None
                else [name for name in CAPABILITIES if name in declared],
                "unusable": _why_unusable(
                    one, [other for other in found if other.name == one.name]
                ),
            }
        )
    if args.format == "json":
        put(json.dumps(plain, indent=2) + "\n")
    else:
        put("\n".join(map(_lines, found, plain)))
    return FINE


def _why_unusable(one: Registered, namesakes: list[Registered]) -> str | None:
    """Why the name of a backend cannot be used here; None where it can."""
    from cellspec.conformance.run.registered import has_module

    if len(namesakes) > 1:
        both = " and ".join(f"{other.path} of {other.distribution}" for other in namesakes)
        return f"{one.name!r} is registered twice: {both}; give module:attribute"
    if not has_module(one):
        return f"module {one.path.partition(':')[0]} is not found"
    return None


def _lines(one: Registered, plain: dict[str, Any]) -> str:
    """The lines of one backend, for a person."""
    import textwrap

    declared = plain["capabilities"]
    known = "the backend says them once it is made" if declared is None else ", ".join(declared)
    return "".join(
        f"{line}\n"
        for line in (
            f"{one.name}: {one.path}, of {one.distribution}",
            *([f"  unusable: {plain['unusable']}"] if plain["unusable"] else []),
            f"  needs: {_needs(one)}",
            *textwrap.wrap(
                f"capabilities: {known}", 78, initial_indent="  ", subsequent_indent="    "
            ),
        )
    )


def _needs(one: Registered) -> str:
    from cellspec.errors import how_to_install

    if not one.extras:
        return "nothing more"
    owner = one.distribution.partition(" ")[0]
    extras = f"{owner}[{','.join(one.extras)}]"
    if not one.missing:
        return f"{extras}, installed"
    how = f"; {how_to_install(','.join(one.extras))}" if owner == "cellspec" else ""
    return f"{extras}: {', '.join(one.missing)} is absent{how}"
