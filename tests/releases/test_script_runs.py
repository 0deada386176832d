"""Stand-alone scripts: one that runs in a forked process does what it does in one of its own."""

from __future__ import annotations

import pytest

from simulations.releases import script_runs
from simulations.releases.environments import Workspace
from simulations.releases.script_files import Script
from simulations.releases.script_runs import absent_from, run_scripts, script_in

SCRIPTS = {
    "what it is.py": """\
import json, sys
print("DEFECT:", __name__, __file__ == sys.argv[0], sys.argv[1:], sys.flags.safe_path, hash("x"))
assert sys.modules["__main__"].__dict__ is globals()
sys.exit(1)
""",
    "what it sees.py": """\
import os, sys
import msgspec
print("DEFECT:", msgspec.__file__, sorted(os.environ))
os.environ["SET_BY_A_SCRIPT"] = "1"
msgspec.left = 1
sys.exit(1)
""",
    "what it sees later.py": """\
import os, sys
import msgspec
print("DEFECT:", hasattr(msgspec, "left"), "SET_BY_A_SCRIPT" in os.environ)
sys.exit(1)
""",
    "what it does at its end.py": """\
import atexit, sys, threading, time
atexit.register(print, "DEFECT: its last words", flush=True)
threading.Thread(target=lambda: (time.sleep(0.05), print("from a thread"))).start()
sys.exit(1)
""",
    "it dies.py": "print('DEFECT: unflushed'); raise ValueError('an error')",
    "it leaves.py": "import os; print('DEFECT', flush=True); os._exit(1)",
    "it says why.py": "import sys; print('ABSENT: no rows'); sys.exit(2)",
    "it ends with words.py": "import sys; sys.exit('words')",
    "it is killed.py": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "it never ends.py": "import time; time.sleep(60)",
    "it is fine.py": "print('as expected')",
}


def test_a_forked_script_does_what_it_does_in_a_process_of_its_own(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script_runs, "_SCRIPT_LIMIT_S", 1.5)
    release = workspace.engine.releases[0]
    scripts = [Script(name, (), (), "", text=text) for name, text in SCRIPTS.items()]
    place = workspace.place(release) / "alone"
    (workspace.place(release) / "scripts").mkdir()
    place.mkdir()
    alone = {one.file: script_in(workspace, release, one, place) for one in scripts}
    assert run_scripts(workspace, release, scripts, again=False) == alone
    says = [said["says"] for said in alone.values()]
    assert [says.count(word) for word in ("shows", "absent", "failed", "fine")] == [6, 1, 3, 1]


def test_a_forked_script_finds_imported_what_it_imports_and_a_home_of_its_own(
    workspace: Workspace,
) -> None:
    text = """\
import os, sys
from pathlib import Path
print("DEFECT:", [name in sys.modules for name in ("msgspec", "pluggy", "cellspec", "argparse")])
print("DEFECT:", os.path.samefile(Path.home().parent, Path(__file__).parent), Path.home().name)
import msgspec, pluggy, not_there
"""
    script = Script("what is there.py", (), (), "", text=text)
    said = run_scripts(workspace, workspace.engine.releases[0], [script], again=False)
    assert said[script.file]["detail"] == "DEFECT: True home"
    log = workspace.place(workspace.engine.releases[0]) / "scripts" / "what is there.log"
    assert log.read_text().startswith("DEFECT: [True, True, False, False]")


def test_a_script_is_not_run_on_releases_before_the_one_that_it_needs(workspace: Workspace) -> None:
    of_all = Script("of all.py", (), (), "")
    of_some = Script("of some.py", (), (), "", needs="2.0, which has rows")
    said = [
        absent_from(workspace.engine, one, [of_all, of_some]) for one in workspace.engine.releases
    ]
    absent = {"of some.py": {"says": "absent", "detail": "ABSENT: needs 2.0, which has rows"}}
    assert said == [absent, {}, {}]


def test_scripts_without_a_result_are_run_again(workspace: Workspace) -> None:
    release = workspace.engine.releases[0]
    python = workspace.python(release)
    text = python.read_text()
    python.write_text("#!/bin/sh\necho no such library\nexit 3\n")
    script = Script("fine.py", (), (), "", text="print('fine')")
    said = run_scripts(workspace, release, [script], again=False)[script.file]
    assert said["says"] == "failed"
    assert said["detail"].endswith("exit code 3: no such library")
    python.write_text(text)
    assert run_scripts(workspace, release, [script], again=False)[script.file]["says"] == "fine"
    python.unlink()
    assert run_scripts(workspace, release, [script], again=False)[script.file]["says"] == "fine"
