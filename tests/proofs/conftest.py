"""The foreign implementation: Go's golang.org/x/mod/sumdb, as a process that is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.foreign import Foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

GO_PATH = Path("/usr/share/gocode")
SUMDB = GO_PATH / "src/golang.org/x/mod/sumdb"
SOURCE = Path(__file__).parent / "foreign/main.go"


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed: apt install golang-go golang-golang-x-mod-dev")
    if not SUMDB.is_dir():
        pytest.skip(f"{SUMDB} is not there: apt install golang-golang-x-mod-dev")
    folder = tmp_path_factory.mktemp("foreign")
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GO_PATH),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    program = folder / "foreign"
    subprocess.run([go, "build", "-o", program, SOURCE], env=environment, check=True)
    with subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        yield Foreign(process)
        assert process.stdin is not None
        process.stdin.close()
