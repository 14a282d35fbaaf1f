"""Stores of older releases, which are kept packed."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def unpack(archive: Path, directory: Path) -> None:
    """Unpack an archive that is the project's own into a directory."""
    with tarfile.open(archive) as opened:
        if hasattr(tarfile, "data_filter"):
            opened.extractall(directory, filter="data")
        else:  # Python before 3.11.4
            opened.extractall(directory)
