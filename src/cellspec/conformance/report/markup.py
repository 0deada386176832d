"""HTML that is safe by construction: elements from values, each value escaped once.

A report shows names, values and messages that come from engines under test, and an engine may put
anything into them: quotes, ``</script>``, half a surrogate pair. So no page is written as a string
with holes. `tag` builds an element from children and attributes and escapes every one that is not
`Markup`, and only this module makes `Markup` from raw text. Data for scripts goes through
`json_block`, in which no ``<`` is left. `document` closes the page off from the rest of the world:
its content policy allows the scripts that are in it, by their digest, and no request to anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from html import escape
from importlib.resources import files

from cellspec.errors import SpecError

__all__ = ["Child", "Markup", "asset", "document", "join", "json_block", "tag", "text"]

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
# Characters that are no part of a well-formed page: controls, and halves of surrogate pairs, which
# would fail only when the page is encoded.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


Child = str | int | float | None
"""What an element may hold: markup as it is, anything else as text, None as nothing."""


def text(value: object) -> Markup:
    """`value` as text of a page: escaped, with U+FFFD for characters that a page cannot hold."""
    if isinstance(value, Markup):
        return value
    return Markup(escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True))


def join(children: Iterable[Child], between: str = "") -> Markup:
    """Children one after the other, as one piece of markup."""
    return Markup(text(between).join(text(child) for child in children if child is not None))


def tag(name: str, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """One element: ``tag("a", "to <top>", href="#top")``.

    An attribute is written with a trailing underscore where Python needs one (``class_``) and with
    underscores for hyphens (``data_state``); None and False leave it out, True gives it no value.
    """
    head = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        head.append(word if value is True else f'{word}="{text(value)}"')
    opening = f"<{' '.join(head)}>"
    if name in _VOID:
        return Markup(opening)
    return Markup(f"{opening}{join(children)}</{name}>")


def json_block(identity: str, data: object) -> Markup:
    """Data for a script, as an element that runs nothing and that nothing in `data` can close.

    Raises:
        SpecError: `data` holds something that JSON has no form for.
    """
    try:
        body = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpecError(f"report: {identity}: no JSON: {error}") from None
    for character in "<>&":
        body = body.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{text(identity)}">{body}</script>')


def asset(name: str) -> str:
    """The text of a style sheet or script that the package brings along."""
    return files("cellspec.conformance.report").joinpath("assets", name).read_text(encoding="utf-8")


def document(
    title: str,
    body: Iterable[Child],
    *,
    scripts: Iterable[str] = (),
    prelude: str = "",
    style: str = "",
    generator: str = "",
) -> str:
    """A whole page: one self-contained file, the same bytes for the same arguments.

    Args:
        title: for the window and the history.
        body: the content of the page, data blocks included.
        scripts: names of assets to run, in order, after the body is there.
        prelude: the text of a script to run before them.
        style: rules after those of all pages.
        generator: the part of cellspec that wrote it, for a program that asks; "" says nothing.
    """
    script = prelude + "".join(asset(name) for name in scripts)
    if "</script" in script.lower() or "<!--" in script:
        raise AssertionError("a script of the package would end its own element")
    if "</style" in style.lower():
        raise AssertionError("a style sheet of the package would end its own element")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"base-uri 'none'; form-action 'none'; script-src {allowed}"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="generator", content=generator) if generator else None,
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        Markup(f"<style>{asset('page.css')}{style}</style>"),
    )
    end = Markup(f"<script>{script}</script>") if script else None
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *body, end), lang='en')}\n"
