"""The line protocol: an engine in any language, judged over stdin and stdout.

An engine that is not written in Python joins the suite as a process that reads and writes JSON
lines; ``specs/protocol/README.md`` is the page for whoever writes one. The modules, from the
outside in:

- `backend`: `LineBackend`, the backend of all such engines, and the turns that both sides take;
- `messages`: the lines as values, with what is wrong about them in one line;
- `process`: a process that speaks lines, and may die, hang or print rubbish;
- `schema`: the JSON Schemas of the lines, made from `messages`;
- `check`: ``python -m cellspec.engines.lines COMMAND``, what to run on the first day.
"""

from cellspec.engines.lines.backend import COMMAND_VARIABLE, SILENCE_S, LineBackend
from cellspec.engines.lines.process import EngineDied, EngineSilent

__all__ = ["COMMAND_VARIABLE", "SILENCE_S", "EngineDied", "EngineSilent", "LineBackend"]
