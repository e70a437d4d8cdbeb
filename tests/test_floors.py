"""The house: imports go downwards only, plugins use public names only, and the namespace stays open."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

CORE = {
    "errors": 0,
    "listen": 0,
    "logs": 0,
    "loop": 0,
    "stalls": 0,
    "state": 0,
    "build": 1,
    "connection": 0,
    "http1": 0,
    "health": 1,
    "message": 1,
    "chain": 2,
    "config": 2,
    "hookspecs": 2,
    "reference": 2,
    "tunnel": 2,
    "loader": 3,
    "protocol": 3,
    "routes": 3,
    "__init__": 4,
    "upstream": 4,
    "client": 5,
    "wire": 4,
    "stage": 5,
    "server": 6,
    "service": 7,
    "testing": 7,
    "worker": 8,
    "supervisor": 9,
    "__main__": 10,
}
IMAGE_EDIT = {
    "addresses": 0,
    "c2pa": 1,
    "origins": 0,
    "picture": 0,
    "rules": 0,
    "told": 0,
    "model": 1,
    "changes": 2,
    "fetch": 2,
    "hookspecs": 2,
    "polling": 2,
    "record": 2,
    "kept": 2,
    "registry": 2,
    "wire": 2,
    "catalogue": 3,
    "cost": 3,
    "ask": 3,
    "drive": 3,
    "inline": 3,
    "sizing": 3,
    "dialects": 4,
    "fit": 4,
    "inputs": 4,
    "outcome": 4,
    "stream": 5,
    "plugin": 6,
    "__init__": 7,
    "testing": 8,
}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    folder = ROOT / package
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(folder).parts
        yield inner[0].removesuffix(".py"), path


def imports(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """(level, module, names) of every import in a file, those within functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, []


def inner(package: str, room: str, path: Path) -> Iterator[str]:
    """The rooms of its own package that a file imports."""
    dotted = package.replace("/", ".")
    depth = len(path.relative_to(ROOT / package).parts)
    for level, module, names in imports(path):
        if level == depth:  # `.x`, seen from the package's own folder
            yield from [module.split(".")[0]] if module else names
        elif level == 0 and module.startswith(f"{dotted}."):
            yield module.removeprefix(f"{dotted}.").split(".")[0]
    del room


@pytest.mark.parametrize(("package", "floors"), [("proxy_core", CORE), ("plugins/image_edit", IMAGE_EDIT)])
def test_imports_go_downwards_only(package: str, floors: dict[str, int]) -> None:
    wrong = []
    for room, path in modules(package):
        assert room in floors, f"{path} has no floor: add it to the plan"
        for other in inner(package, room, path):
            allowed = floors.get(other, 99) < floors[room] or (room, other) in {("__main__", "__init__")}
            if other in floors and not allowed:
                wrong.append(f"{path.name} (floor {floors[room]}) imports {other} (floor {floors[other]})")
    assert not wrong


def test_the_plan_names_no_room_that_is_gone() -> None:
    for package, floors in (("proxy_core", CORE), ("plugins/image_edit", IMAGE_EDIT)):
        assert set(floors) == {room for room, _ in modules(package)}


def test_the_core_knows_no_plugin() -> None:
    for _, path in modules("proxy_core"):
        assert not [module for _, module, _ in imports(path) if module.split(".")[0] == "plugins"], path


# A provider may build on another one's public names, where both serve the same models.
BUILT_ON = {"azure": ("plugins.openai",)}
PLUGINS = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py"))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_import_public_names_only(plugin: str) -> None:
    """Of the core, and of the plugin whose hook they implement: what a stranger's plugin could import too."""
    for _, path in modules(f"plugins/{plugin}"):
        for level, module, _ in imports(path):
            if level:
                assert level <= len(path.relative_to(ROOT / "plugins" / plugin).parts), f"{path} leaves its package"
                continue
            top, _, rest = module.partition(".")
            if top == "proxy_core":
                assert rest in ("", "testing"), f"{path} imports {module}"
            if top == "plugins" and not module.startswith(f"plugins.{plugin}"):
                allowed = ("plugins.image_edit", "plugins.image_edit.testing", *BUILT_ON.get(plugin, ()))
                assert module in allowed, f"{path} imports {module}"


def test_plugins_and_tests_are_open_namespaces() -> None:
    assert not (ROOT / "plugins" / "__init__.py").exists()
    ours = [path for path in (ROOT / "tests").rglob("__init__.py") if "third_party" not in path.parts]
    assert not ours
    for plugin in PLUGINS:
        assert (ROOT / "plugins" / plugin / "py.typed").exists()


def test_only_fetch_knows_aiohttps_client() -> None:
    for folder in ("proxy_core", "plugins"):
        for _, path in modules(folder):
            client = [names for _, module, names in imports(path) if module == "aiohttp" and "web" not in names]
            if path.name not in ("fetch.py", "addresses.py"):
                assert not client, f"{path} imports aiohttp's client"


def test_no_module_holds_state() -> None:
    """Two proxies with different configs run in one process: nothing at a module's top level may be changed later."""
    for folder in ("proxy_core", "plugins"):
        for _, path in modules(folder):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)], path
