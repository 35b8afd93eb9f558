"""What an installed wheel holds and needs, tried from the wheel and not from this folder."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from samplescope_app.components import modules

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel that is built from a copy, so that nothing is left in the checkout and nothing stale is packed."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("attribution_core", "app", "assets"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), "."], cwd=source, check=True)
    return next(out.glob("*.whl"))


def test_every_package_is_listed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name: ROOT / folder for name, folder in project["package-dir"].items()}
    found = {
        ".".join((name, *init.parent.relative_to(folder).parts))
        for name, folder in folders.items()
        for init in folder.rglob("__init__.py")
    }
    assert set(project["packages"]) == found


def test_the_wheel_holds_what_it_needs_and_no_package_called_app(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"attribution_core", "samplescope_app", "samplescope_assets", f"samplescope-{_version()}.dist-info"}
    wanted = [
        *("samplescope_assets/demo/fashion-demo.parquet", "samplescope_assets/demo/LICENSE-fashion-mnist"),
        *(f"samplescope_app/components/gallery/{name}" for name in ("gallery.html", "gallery.css", *modules.SCRIPTS)),
        *(f"samplescope_app/pages/{page}.py" for page in ("runs", "overview", "browse", "example", "review")),
        "samplescope_app/main.py",
    ]
    assert set(wanted) <= set(names)
    licenses = [name for name in names if "/licenses/" in name]
    assert any(name.endswith("LICENSE") for name in licenses)
    assert any(name.endswith("LICENSE-fashion-mnist") for name in licenses)


def test_the_wheel_scores_the_demo_on_its_own(wheel, tmp_path):
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True)
    quick = ["--max-train", "100", "--epochs", "1", "--hidden", "16"]
    script = (
        "import attribution_core, samplescope_app, sys; from attribution_core.cli.main import main;"
        f"assert attribution_core.__file__.startswith({str(target)!r}), attribution_core.__file__;"
        f"assert samplescope_app.__file__.startswith({str(target)!r}), samplescope_app.__file__;"
        f"sys.exit(main(['score', 'fashion-demo', '--out', 'run', *{quick}]))"
    )
    # -S skips the finder of the editable install; the other libraries are found by path.
    paths = [str(target), *(p for p in sys.path if "site-packages" in p)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    scored = subprocess.run([sys.executable, "-S", "-c", script], cwd=tmp_path, env=environment, capture_output=True)
    assert scored.returncode == 0, scored.stderr.decode()
    assert (tmp_path / "run" / "examples.parquet").is_file()


def test_nothing_imported_at_run_time_needs_an_extra():
    """Module-level imports come from the dependencies, or from what these depend on."""
    providers = packages_distributions()
    allowed = _with_their_dependencies(_project()["dependencies"])
    for folder in (ROOT / "attribution_core", ROOT / "app"):
        for file in folder.rglob("*.py"):
            for name in _imported_at_module_level(ast.parse(file.read_text(encoding="utf-8"))):
                if name not in sys.stdlib_module_names and name not in ("attribution_core", "samplescope_app"):
                    assert allowed & {_normal(each) for each in providers.get(name, [])}, f"{file} imports {name}"


def _imported_at_module_level(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    return names


def _with_their_dependencies(requirements: list[str]) -> set[str]:
    """The distributions that these requirements install here, extras aside."""
    found: set[str] = set()
    left = [Requirement(each) for each in requirements]
    while left:
        requirement = left.pop()
        name = _normal(requirement.name)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and name not in found:
            found.add(name)
            with suppress(PackageNotFoundError):
                left += [Requirement(each) for each in requires(name) or []]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _version() -> str:
    return _project()["version"]
