"""The notebooks of ``plans/``: run from the first cell to the last, and written with their outputs.

    python -m tests.notebooks --write

runs `SHOWN`, the notebook that is kept with its outputs and plots, and puts them into it. The
kernel is always this interpreter: a kernel that some other environment registered on the machine is
never found.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

__all__ = ["PLANS", "SHOWN", "execute", "read", "texts"]

PLANS = Path(__file__).parents[1] / "plans"

SHOWN = "from_question_to_decision.ipynb"
"""Kept with outputs: a reader who only looks at it sees them."""


def read(name: str) -> Any:
    """A notebook of ``plans/``."""
    return nbformat.read(PLANS / name, as_version=4)  # type: ignore[no-untyped-call]


def execute(notebook: Any, folder: Path, *, timeout_s: int) -> None:
    """Run all cells in a fresh kernel; their outputs take the place of those that are there.

    Args:
        notebook: changed in place.
        folder: where it runs, and where the settings and the connection file of the kernel are.
        timeout_s: for each cell.

    Raises:
        CellExecutionError: a cell raises.
    """
    NotebookClient(
        notebook,
        km=_kernel_manager(folder),
        timeout=timeout_s,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    for cell in notebook.cells:
        # When each cell ran differs from run to run.
        cell.metadata.pop("execution", None)


def texts(notebook: Any) -> list[list[str]]:
    """Of each cell of code, what it printed or gave, without its plots."""
    return [
        [
            output.get("text") or output.data["text/plain"]
            for output in cell.outputs
            if output.output_type != "error"
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _kernel_manager(folder: Path) -> AsyncKernelManager:
    """A kernel of this interpreter."""
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


def main() -> None:
    """Run the notebook that is shown, and write it with its outputs."""
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.notebooks --write")
    notebook = read(SHOWN)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder), timeout_s=600)
    nbformat.write(notebook, PLANS / SHOWN)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
