"""An engine that writes given lines, right or wrong, for tests of the suite's side.

The argument is a JSON list of turns: what to do at the start, and then after each line that is
read. A turn is a list of things: an object is said as a line, ``"text"`` is written as it is,
``["stderr", text]``, ``["sleep", seconds]``, ``["exit", status]``, ``["kill"]`` and
``["child", file]`` (start a process that outlives this one, and note its number) do what they say.
"""

import json
import os
import signal
import subprocess
import sys
import time


def act(thing: object) -> None:
    """Do one thing."""
    if isinstance(thing, dict):
        print(json.dumps(thing), flush=True)
    elif isinstance(thing, str):
        sys.stdout.write(thing)
        sys.stdout.flush()
    elif isinstance(thing, list):
        what, *given = thing
        if what == "stderr":
            print(*given, file=sys.stderr, flush=True)
        elif what == "sleep":
            time.sleep(float(given[0]))
        elif what == "exit":
            sys.exit(int(given[0]))
        elif what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "child":
            child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
            with open(given[0], "w") as file:  # noqa: PTH123 - pathlib takes long to import
                file.write(str(child.pid))


if __name__ == "__main__":
    for turn in json.loads(sys.argv[1]):
        for thing in turn:
            act(thing)
        if not sys.stdin.readline():
            break
