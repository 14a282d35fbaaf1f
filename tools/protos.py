"""Compile the messages of the snapshotter: `python -m tools.protos`.

The Python that comes out needs a protobuf as new as the compiler's at least, so the compiler is the
oldest one that gives what pyproject.toml asks for: `pip install grpcio-tools==1.75.1`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent / "cli"
PROTOS = "snapledger/snapshotter/proto"


def compile_protos(*options: str) -> None:
    """Run the compiler on all `.proto` files of the snapshotter."""
    files = sorted(str(path.relative_to(SOURCES)) for path in (SOURCES / PROTOS).glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCES}", *options, *files]
    subprocess.run(command, check=True, cwd=SOURCES)


if __name__ == "__main__":
    compile_protos(f"--python_out={SOURCES}", f"--pyi_out={SOURCES}")
