"""The notebook beside the plan runs from the first cell to the last, in a fresh kernel.

Its cells assert what they show, so a run without an error is the test. The kernel is always this
interpreter: a kernel that some other environment registered on the machine is never found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "plans" / "execution_graph_explained.ipynb"


def load() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def kernel_manager(folder: Path) -> AsyncKernelManager:
    """A kernel of this interpreter; its settings and connection file are kept in `folder`."""
    spec = folder / "kernels" / "this-interpreter"
    spec.mkdir(parents=True)
    kernel = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "this interpreter",
        "language": "python",
        "env": {"IPYTHONDIR": str(folder / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
    }
    (spec / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
    return AsyncKernelManager(
        kernel_name=spec.name,
        kernel_spec_manager=KernelSpecManager(
            kernel_dirs=[str(spec.parent)], ensure_native_kernel=False
        ),
        connection_file=str(folder / "connection.json"),
    )


def test_the_notebook_runs_without_an_error(tmp_path: Path) -> None:
    notebook = load()
    client = NotebookClient(
        notebook,
        km=kernel_manager(tmp_path),
        timeout=60,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = load()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
