"""What an installed wheel holds, tried from the wheel and not from this folder."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing is left in the checkout and nothing stale is packed."""
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
        *(f"samplescope_app/components/gallery/gallery.{kind}" for kind in ("html", "css", "js")),
        *(f"samplescope_app/pages/{page}.py" for page in ("runs", "overview", "browse", "example", "review")),
        "samplescope_app/main.py",
    ]
    assert set(wanted) <= set(names)
    licences = [name for name in names if "/licenses/" in name]
    assert any(name.endswith("LICENSE") for name in licences)
    assert any(name.endswith("LICENSE-fashion-mnist") for name in licences)


def test_the_wheel_scores_the_demo_on_its_own(wheel, tmp_path):
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True)
    script = (
        "import attribution_core, samplescope_app, sys; from attribution_core.cli.main import main;"
        f"assert attribution_core.__file__.startswith({str(target)!r}), attribution_core.__file__;"
        f"assert samplescope_app.__file__.startswith({str(target)!r}), samplescope_app.__file__;"
        "sys.exit(main(['demo', '--out', 'run', '--no-open']))"
    )
    # -S leaves the editable install's finder out; the other libraries come back by path.
    paths = [str(target), *(p for p in sys.path if "site-packages" in p)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    told = subprocess.run([sys.executable, "-S", "-c", script], cwd=tmp_path, env=environment, capture_output=True)
    assert told.returncode == 0, told.stderr.decode()
    assert (tmp_path / "run" / "examples.parquet").is_file()


def _version() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
