"""The two arms on which storage is tested: a model that shows every crash, and a real folder.

An arm keeps *states* of a file system, and lets a program enter one as often as it likes. A crash
is not raised: at any moment the arm can be asked which states a crash would leave now.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from cellspec.engine.storage.filesystem import LOCK, FileSystem, RealFileSystem
from cellspec.engine.storage.model_filesystem import Fault, Image, ModelFileSystem

Faults: TypeAlias = Callable[[str, str], Fault | None]


def no_faults(*_: str) -> None:
    return None


class Arm(Protocol):
    """A kind of file system whose states can be kept and entered again.

    Attributes:
        stride: the share of like cases to try: all, or every so many if it is slow.
    """

    stride: int

    def begin(self, image: Image) -> Any:
        """The state of files that are safe."""

    def enter(self, state: Any, step: Callable[[str], object], fail: Faults) -> FileSystem:
        """A file system in that state; each state can be entered many times."""

    def beside(self, files: Any) -> FileSystem:
        """The folder of `files` as another process sees it, which begins now."""

    def image(self, files: Any) -> Image:
        """The content of each file, as a reader sees it."""

    def states(self, files: Any) -> list[Any]:
        """The states in which a crash at this moment may leave it."""

    def key(self, state: Any) -> object:
        """A key that is equal for states which behave alike."""

    def leave(self, files: Any) -> None:
        """The test is over with these files."""


class ModelArm:
    """The model: a crash may leave many states, and the cache too if only the process died."""

    stride = 1

    def __init__(self, block: int = 128) -> None:
        self.block = block

    def begin(self, image: Image) -> ModelFileSystem:
        return ModelFileSystem(image, block=self.block)

    def enter(
        self, state: ModelFileSystem, step: Callable[[str], object], fail: Faults
    ) -> ModelFileSystem:
        files = state.fork()
        files.before_step, files.fault = step, fail
        return files

    def beside(self, files: ModelFileSystem) -> ModelFileSystem:
        return files.beside("process2")

    def image(self, files: ModelFileSystem) -> Image:
        return files.image()

    def states(self, files: ModelFileSystem) -> list[ModelFileSystem]:
        return [*map(self.begin, files.survivors()), files.fork()]

    def key(self, state: ModelFileSystem) -> object:
        return state.key()

    def leave(self, files: ModelFileSystem) -> None:
        pass


class RealArm:
    """The real file system. Only the death of the process can be had here: all that is visible."""

    stride = 5

    def __init__(self, root: Path) -> None:
        self.root = root

    def begin(self, image: Image) -> Image:
        return image

    def enter(self, state: Image, step: Callable[[str], object], fail: Faults) -> RealFileSystem:
        def before(name: str) -> None:
            step(name)
            operation, _, target = name.rpartition(" ")
            if fail(operation, target) is not None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

        folder = Path(tempfile.mkdtemp(dir=self.root))
        for name, data in state.items():
            (folder / name).write_bytes(data)
        files = RealFileSystem(folder, before_step=before)
        # States are compared by their bytes, so one process after another has the same name.
        files.writer = "process1"
        return files

    def beside(self, files: RealFileSystem) -> RealFileSystem:
        return RealFileSystem(files.root)

    def image(self, files: RealFileSystem) -> Image:
        found = (path for path in sorted(files.root.iterdir()) if path.name != LOCK)
        return {path.name: path.read_bytes() for path in found}

    def states(self, files: RealFileSystem) -> list[Image]:
        return [self.image(files)]

    def key(self, state: Image) -> object:
        return tuple(state.items())

    def leave(self, files: RealFileSystem) -> None:
        files.close()
        shutil.rmtree(files.root)
