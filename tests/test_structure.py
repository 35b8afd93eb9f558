"""Limits on the sizes of modules, functions and packages, and rules for where tests and their helpers are."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = ("attribution_core", "app")
MODULE_LINES, FUNCTION_LINES = 400, 80
NOT_MIRRORED = {"support", "browser", "hostile", "benchmarks"}


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_module_passes_400_lines():
    lengths = {name(path): len(path.read_text().splitlines()) for path in sources(*CODE, "tests")}
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_no_function_passes_80_lines():
    lengths = {
        f"{name(path)}: {node.name}": node.end_lineno - node.lineno + 1
        for path in sources(*CODE)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {function: lines for function, lines in lengths.items() if lines > FUNCTION_LINES} == {}


@pytest.mark.parametrize(("folder", "modules", "packages"), [("attribution_core", 4, 14), ("app", 4, 6)])
def test_the_top_of_each_package_stays_small(folder, modules, packages):
    names = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    assert len(names) <= modules, names
    assert len(list((ROOT / folder).glob("*/__init__.py"))) <= packages


def test_every_folder_of_tests_mirrors_a_package():
    packages = {init.parent.relative_to(ROOT) for folder in CODE for init in (ROOT / folder).rglob("__init__.py")}
    packages = {Path(*path.parts[1:]) if path.parts[0] == "attribution_core" else path for path in packages}
    tested = {path.parent.relative_to(ROOT / "tests") for path in sources("tests")}
    assert {str(folder) for folder in tested - packages if folder.parts[0] not in NOT_MIRRORED} == set()


def test_no_test_imports_another():
    """What two tests need is a module of tests/support."""
    found = []
    for path in sources("tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
            elif isinstance(node, ast.Import):
                modules = [each.name for each in node.names]
            found += [f"{name(path)}: {each}" for each in modules if is_test(each)]
    assert found == []


def is_test(module: str) -> bool:
    path = (ROOT / Path(*module.split("."))).with_suffix(".py")
    return module.startswith("tests.") and path.name.startswith(("test_", "conftest")) and path.exists()
