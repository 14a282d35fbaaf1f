"""No public name goes by accident: what was importable stays so.

`data/public_names.txt` has every public name of the library, with the public members of its
classes. A name that is added is added there. To take one out is a decision: say so in the
changelog, and take its line out.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

LIST = Path(__file__).parent / "data" / "public_names.txt"
PACKAGES = (
    "eventstore",
    "eventstore.proofs",
    "eventstore.testing",
    "projections.snapshots",
    "snapledger",
)
LIBRARY = ("eventstore", "projections")
LISTED = LIST.read_text(encoding="utf-8").split()


def public_names(package: str) -> Iterator[str]:
    """Yield the names that a package exports, and the members of the classes among them."""
    module = import_module(package)
    for name in module.__all__:
        yield f"{package}.{name}"
        exported = getattr(module, name)
        # Those of `snapledger` are the metastore's.
        if inspect.isclass(exported) and package != "snapledger":
            own = [base for base in exported.__mro__ if top_level(base.__module__) in LIBRARY]
            members = sorted({member for base in own for member in vars(base)})
            yield from (
                f"{package}.{name}.{member}" for member in members if not member.startswith("_")
            )


def top_level(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_has_gone(package: str) -> None:
    known = [name for name in LISTED if package_of(name) == package]
    gone = set(known) - set(public_names(package))
    assert known
    assert not gone, f"public names were taken away, see {LIST.name}: {sorted(gone)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_listed(package: str) -> None:
    new = set(public_names(package)) - set(LISTED)
    assert not new, "\n".join([f"add to {LIST.name} what is new:", *sorted(new)])


def package_of(name: str) -> str:
    """Return the package whose name a listed name begins with."""
    return max((one for one in PACKAGES if name.startswith(f"{one}.")), key=len)
