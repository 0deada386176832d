"""The JSON Schema of scenario files, for editors; ``python -m sim.scenario.schema`` prints it."""

from __future__ import annotations

import json
import sys
from typing import Any

from sim.scenario.beside import COMMON
from sim.scenario.scenario import Scenario

__all__ = ["scenario_schema", "schema_text"]


def scenario_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file (draft 2020-12)."""
    schema = Scenario.model_json_schema(by_alias=True)
    for part in schema["$defs"].values():
        # In Python a model knows its own name; in a file the name chooses the model.
        if part["properties"].get("model", {}).get("const"):
            part["required"] = ["model", *part.get("required", [])]
    failures = schema["$defs"]["FailuresSpec"]
    older = {**failures["properties"]["backoff"], "deprecated": True}
    failures["properties"]["cool_down"] = {**older, "description": "the older name of backoff"}
    failures["not"] = {"required": ["backoff", "cool_down"]}
    # A pipeline that runs beside is a scenario, without what is said once for all.
    not_own = [{"required": [word]} for word in (*COMMON, "beside")]
    schema["properties"]["beside"]["items"] = {"$ref": "#", "not": {"anyOf": not_own}}
    return schema


def schema_text(schema: dict[str, Any] | None = None) -> str:
    """A JSON Schema as text; without one, that of ``simulations/scenario.schema.json``."""
    found = scenario_schema() if schema is None else schema
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Print the schema; an exit code of `cellspec.exit_codes`."""
    from cellspec.exit_codes import FINE, put, run_command

    def command() -> int:
        put(schema_text())
        return FINE

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
