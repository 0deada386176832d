"""The line protocol: an engine in any language, judged over stdin and stdout.

An engine that is not written in Python joins the suite as a process that reads and writes JSON
lines; ``specs/protocol/README.md`` is the page for its author. The modules, from the outside in:

- `backend`: `LineBackend`, the backend of all such engines;
- `turns`: the turns that both sides take, with `in_flight`, the calls between;
- `conversation`: messages to and from the process, started when it is needed;
- `messages`: lines decoded and encoded, and a bad line described in one line; `from_engine` and
  `to_engine` have the lines of either side, `workload_lines` a workload in their words;
- `process`: a process that speaks lines, and may die, hang or print rubbish;
- `schema`: the JSON Schemas of the lines, made from `messages`;
- `check`: ``python -m cellspec.engines.lines COMMAND``, for the first day.
"""

from cellspec.engines.lines.backend import COMMAND_VARIABLE, SILENCE_S, LineBackend
from cellspec.engines.lines.process import EngineDied, EngineSilent

__all__ = ["COMMAND_VARIABLE", "SILENCE_S", "EngineDied", "EngineSilent", "LineBackend"]
