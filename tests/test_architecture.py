"""The layers: imports point one way, and each kind of I/O has one place."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import eventstore

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(eventstore.__file__).parent.parent
PACKAGES = {
    "eventstore": ROOT / "eventstore",
    "projections": ROOT / "projections",
    "snapledger": ROOT / "tools/cli/snapledger",
    "tools": ROOT / "tools",  # without the folder of the package above
}
PROGRAMS = ("snapledger", "tools")

_MAP_LINE = re.compile(r" {4}(\S+(?: \S+)*) {2,}\S.*")


def _layers() -> list[set[str]]:
    """Return the engine's modules and folders from the lowest layer to the highest.

    They are read from the map in the docstring of the package, so that it can't lie.
    """
    lines = [_MAP_LINE.fullmatch(line) for line in (eventstore.__doc__ or "").splitlines()]
    names = [{name.rstrip("/") for name in line[1].split()} for line in lines if line]
    return names[::-1]


LAYERS = _layers()

THIS_MACHINE = {
    f"eventstore.files.{name}"
    for name in ("local", "handles", "descriptors", "line", "platform", "paths")
}
FILE_CALLS = {"fcntl", "mmap", "shutil", "pathlib", "tempfile", "io", "glob"}
FORBIDDEN = {"pickle", "marshal", "shelve", "importlib", "imp", "runpy"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


class Import(NamedTuple):
    """One import statement's module, and the names taken from it."""

    module: str
    names: tuple[str, ...]
    at_run_time: bool


@functools.cache
def modules(package: str) -> dict[str, ast.Module]:
    """Return the syntax tree of each module of a package, by its dotted name."""
    found = {}
    folder = PACKAGES[package]
    others = [other for other in PACKAGES.values() if folder in other.parents]
    for path in sorted(folder.rglob("*.py")):
        if any(other in path.parents for other in others):
            continue
        parts = path.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def is_for_typing(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(tree: ast.AST, *, at_run_time: bool = True) -> Iterator[Import]:
    """Yield every import below a node, wherever it stands."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), at_run_time)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield Import(node.module, tuple(alias.name for alias in node.names), at_run_time)
        else:
            is_typing = isinstance(node, ast.stmt) and is_for_typing(node)
            yield from imports(node, at_run_time=at_run_time and not is_typing)


def imported_modules(package: str, name: str) -> Iterator[tuple[str, bool]]:
    """Yield the full name of everything that a module imports, and whether at run time."""
    for module, names, at_run_time in imports(modules(package)[name]):
        if module in PACKAGES:
            yield from ((f"{module}.{each}", at_run_time) for each in names)
        else:
            yield module, at_run_time


ENGINE = {name: tree for name, tree in modules("eventstore").items() if ".testing" not in name}
KIT = {name: tree for name, tree in modules("eventstore").items() if ".testing" in name}
EVERY_MODULE = [(package, name) for package in PACKAGES for name in modules(package)]
LIBRARY = [(package, name) for package, name in EVERY_MODULE if package not in PROGRAMS]


def layer_of(module: str) -> int:
    """Return the number of the layer that an engine module belongs to."""
    part = module.split(".")[1]
    for number, names in enumerate(LAYERS):
        if part in names:
            return number
    raise AssertionError(f"{module} is new: give it a place in the map of eventstore/__init__.py")


def top_level(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("name", ENGINE)
def test_engine_imports_point_down(name: str) -> None:
    if name == "eventstore":
        return
    for imported, _ in imported_modules("eventstore", name):
        if top_level(imported) == "eventstore":
            assert layer_of(imported) <= layer_of(name), f"{name} imports {imported}"


def test_the_map_shows_every_module_and_folder_once() -> None:
    there = {name.split(".")[1] for name in modules("eventstore") if name != "eventstore"}
    assert sorted(there) == sorted(name for names in LAYERS for name in names)


@pytest.mark.parametrize(
    ("part", "with_types"), [(ENGINE, False), (KIT, True)], ids=["engine", "kit"]
)
def test_imports_make_no_circle(part: dict[str, ast.Module], with_types: bool) -> None:
    graph = {
        name: {
            imported
            for imported, at_run_time in imported_modules("eventstore", name)
            if (at_run_time or with_types) and imported in part
        }
        for name in part
        if name not in ("eventstore", "eventstore.testing")
    }
    while graph:
        leaves = [name for name, imported in graph.items() if not imported & graph.keys()]
        assert leaves, f"a circle among {sorted(graph)}"
        for leaf in leaves:
            del graph[leaf]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_know_only_those_below_them(package: str) -> None:
    above = list(PACKAGES)[list(PACKAGES).index(package) + 1 :]
    for name in modules(package):
        for imported, _ in imported_modules(package, name):
            assert top_level(imported) not in above, f"{name}: {imported}"


@pytest.mark.parametrize(("package", "name"), LIBRARY)
def test_only_programs_need_click_and_rich(package: str, name: str) -> None:
    for imported, _ in imported_modules(package, name):
        assert top_level(imported) not in ("click", "rich"), f"{name}: {imported}"


def test_engine_does_not_need_its_testing_kit() -> None:
    for name in ENGINE:
        for imported, _ in imported_modules("eventstore", name):
            assert not imported.startswith("eventstore.testing"), f"{name} imports {imported}"


def test_projections_use_public_names_of_the_engine_only() -> None:
    for name, tree in modules("projections").items():
        for module, names, _ in imports(tree):
            if top_level(module) == "eventstore":
                assert module == "eventstore", f"{name} imports {module}"
                assert set(names) <= set(eventstore.__all__), f"{name} imports {names}"


def test_every_public_name_is_there_once() -> None:
    assert len(eventstore.__all__) == len(set(eventstore.__all__))
    for name in eventstore.__all__:
        assert hasattr(eventstore, name)


def test_only_the_codec_imports_msgpack() -> None:
    importers = {
        name
        for package, name in EVERY_MODULE
        for imported, _ in imported_modules(package, name)
        if top_level(imported) == "msgpack"
    }
    assert importers == {"eventstore.format.codec"}


def test_only_the_format_packs_and_unpacks_bytes() -> None:
    users = set()
    for name, tree in ENGINE.items():
        for imported, _ in imported_modules("eventstore", name):
            if top_level(imported) in ("struct", "array") or imported == "zlib.crc32":
                users.add(name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("crc32", "from_bytes", "to_bytes"):
                users.add(name)
    assert users >= {"eventstore.format.segment"}
    platform = {"eventstore.files.platform", "eventstore.files.line"}
    in_memory = {"eventstore.tables.index"}  # arrays of numbers, of which no byte is seen
    others = users - platform - in_memory
    assert all(user.startswith("eventstore.format.") for user in others), users


@pytest.mark.parametrize("name", ENGINE)
def test_only_the_file_system_calls_the_operating_system_for_files(name: str) -> None:
    if name in THIS_MACHINE:
        return
    tree = ENGINE[name]
    for module, _, at_run_time in imports(tree):
        assert not at_run_time or top_level(module) not in FILE_CALLS, f"{name} imports {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os":
            # Who holds the lock is told by its process number; PathLike is a type.
            assert node.attr in ("getpid", "PathLike"), f"{name} uses os.{node.attr}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "open":
            pytest.fail(f"{name} calls open()")


@pytest.mark.parametrize(("package", "name"), LIBRARY)
def test_nothing_on_disk_can_be_run(package: str, name: str) -> None:
    tree = modules(package)[name]
    for module, _, _ in imports(tree):
        assert top_level(module) not in FORBIDDEN, f"{name} imports {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"{name} calls {node.func.id}"


@pytest.mark.parametrize(("package", "name"), LIBRARY)
def test_library_never_prints(package: str, name: str) -> None:
    for node in ast.walk(modules(package)[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name} prints"


def test_apply_asks_neither_clock_nor_chance() -> None:
    """Whatever a projection's modules import, its fold may only use what is in the event."""
    for name, tree in modules("projections").items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "apply":
                used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
                assert not used & {"time", "datetime", "random", "secrets", "os", "uuid"}, name
