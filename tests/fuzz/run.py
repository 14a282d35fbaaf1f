"""Fuzz one target, guided by coverage: `python tests/fuzz/run.py TARGET [libFuzzer's options]`.

New inputs that reach new code go to the first directory named among the options. An input that
fails is written to the working directory: mend the code, and add it to `corpus/TARGET`, where it
is a test from then on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# google-re2 is C++ and msgpack C: what they do inside is not seen, what they raise is.
with atheris.instrument_imports(include=["eventstore", "projections"]):
    from fuzz.targets import TARGETS

if __name__ == "__main__":
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()
