"""The configuration of a pipeline: by column, a digest of what shapes the column's values.

The fingerprint of a graph says how columns depend on each other. The configuration says what their
generators do: the prompt, the model, the sampling, the version of the code. An engine keeps it
beside its claims, so that cells of an earlier prompt are not taken for those of the present one
(clause CKPT-20). Limits, endpoints and secrets are no part of it: they change a run, and no value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from cellspec.errors import GraphError

__all__ = ["Config", "changed_columns", "config_digest"]

Config: TypeAlias = Mapping[str, str]
"""By column, the digest of its configuration. A column that is left out is not compared."""


def config_digest(data: Any) -> str:
    """The digest of what shapes the values of a column: 16 hexadecimal digits.

    Args:
        data: JSON data, or a text such as a version; the order of keys makes no difference.

    Raises:
        GraphError: data that JSON does not have.
    """
    try:
        text = json.dumps(
            data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise GraphError(f"configuration: expected JSON data: {error}") from None
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def changed_columns(before: Config | None, after: Config | None) -> tuple[str, ...]:
    """The columns whose configuration is known both before and after, and differs."""
    if not before or not after:
        return ()
    return tuple(name for name, mine in after.items() if before.get(name, mine) != mine)
