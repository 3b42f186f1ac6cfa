"""Files that are replaced as a whole, and that nobody else may read."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Puts `content` there in one step: who reads it meanwhile gets the old or the new one. Raises OSError.

    A symbolic link stays one, and what it leads to is replaced.
    """
    target = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def make_private(folder: Path) -> None:
    """Makes the folder one that only its owner may enter. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def make_own(folder: Path, *ours: str) -> None:
    """The same, but a folder where others keep something as well, such as `/tmp`, stays as it is. Raises OSError.

    `ours` are the names of what this command keeps there.
    """
    if not folder.exists() or {path.name for path in folder.iterdir()} <= set(ours):
        make_private(folder)
