"""Files behind a URL, by fsspec: what a backup needs of them, whole files only.

fsspec is an extra (`snapledger[backup]`), imported when a URL is first given.
"""

from __future__ import annotations

from typing import Any

from eventstore.errors import BackupError


class RemoteFiles:
    """The files right below a URL. Errors are those of the service, of any type."""

    def __init__(self, url: str) -> None:
        """Find out what the URL names; nothing is asked of the service yet.

        Raises:
            BackupError: fsspec is not there, or does not know what the URL names.
        """
        self.url = url
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise BackupError(
                f"{url}: a URL needs fsspec: install snapledger[backup], or give a directory"
            ) from error
        try:
            found: tuple[Any, str] = url_to_fs(url)
        except Exception as error:
            # Whatever the implementation behind the scheme raises: it was not asked for yet.
            raise BackupError(f"{url}: {error}") from error
        self._files, path = found
        self._root = path.rstrip("/")

    def make_directory(self) -> None:
        """Make the directory, and those above it, where there are directories."""
        self._files.makedirs(self._root, exist_ok=True)

    def sizes_bytes(self) -> dict[str, int]:
        """Return the names of what is there, and the lengths of files; -1 for what is none."""
        self._files.invalidate_cache()
        try:
            entries = self._files.ls(self._root, detail=True)
        except FileNotFoundError:
            return {}
        found = {}
        for entry in entries:
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            if str(entry["name"]).rstrip("/") != self._root:
                found[name] = int(entry["size"] or 0) if entry["type"] == "file" else -1
        return found

    def read(self, name: str, size_bytes_max: int) -> bytes:
        """Return the content of a file, or no more than so many bytes from its start."""
        with self._files.open(self._path(name), "rb") as file:
            return bytes(file.read(size_bytes_max))

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file."""
        self._files.pipe_file(self._path(name), data)

    def move(self, name: str, new_name: str) -> None:
        """Give a file another name, replacing what had it."""
        self._files.mv(self._path(name), self._path(new_name))

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"
