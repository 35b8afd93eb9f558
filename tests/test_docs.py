"""The README and the documentation: every code block runs, and what they say of the code is what the code has.

The pages run in one folder that holds what they name (PHOTOS, reviews.csv, net.py, ...), small enough to be scored in
seconds. The blocks of a page run in order and share their names, as a reader would type them. A block's text is never
changed; a command that is not run is in ``NOT_RUN`` with the reason, and what it names is checked instead. To save
time, the default network has 16 hidden units here and is trained for three epochs, runs have no map, retraining takes
place in this process, and a command that starts the app is run once.
"""

import ast
import contextlib
import functools
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

import attribution_core
from attribution_core.cli import main as cli
from attribution_core.experiments.registry import EXPERIMENTS
from attribution_core.runs import MEASURES, Run
from attribution_core.scoring import estimate as estimating
from attribution_core.scoring import score as scoring
from tests.support.encoders import make_sentence_encoder

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    title: str
    code: str


def blocks(page: Path) -> list[Block]:
    found = []
    for fence in FENCE.finditer(page.read_text(encoding="utf-8")):
        language, _, options = fence["info"].partition(" ")
        title = re.fullmatch(r'title="([^"]+)"', options)
        assert title or not options, f"{page.name} has a code block with the options {options!r}"
        found.append(Block(language, title[1] if title else "", fence["code"]))
    return found


def commands(code: str) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in code.replace("\\\n", " ").splitlines() if line.strip()]


# -- what is not run ---------------------------------------------------------------------------------------------------


def make_target_exists(command: list[str]) -> bool:
    return re.search(rf"^{command[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None


def installs_this(command: list[str]) -> bool:
    extras = re.fullmatch(r"\.(?:\[(.+)\])?", command[-1])
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return extras is not None and (extras[1] is None or extras[1] in known)


def names_an_experiment(command: list[str]) -> bool:
    return command[2] in {experiment.name for experiment in EXPERIMENTS}


def takes_these_options(command: list[str]) -> bool:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert cli.main([command[1], "--help"]) == 0
    return all(option in printed.getvalue() for option in command if option.startswith("--"))


class NotRun(NamedTuple):
    starts_with: str
    reason: str
    check: Callable[[list[str]], bool]


NOT_RUN = [
    NotRun("make", "installs into .venv, and the tests run from there", make_target_exists),
    NotRun("pip install", "takes minutes and gigabytes", installs_this),
    NotRun("pipx install", "takes minutes and gigabytes", installs_this),
    NotRun(". .venv/bin/activate", "changes the shell that it is typed into", lambda command: len(command) == 2),
    NotRun("scp -r SERVER:", "needs a server", lambda command: len(command) == 4),
    NotRun("ssh -N -L", "needs a server", lambda command: command[3] == "9000:127.0.0.1:9000"),
    NotRun("samplescope reproduce summarization", "takes over an hour", names_an_experiment),
    NotRun("samplescope reproduce wrong_label_detection", "trains on the scored demo", names_an_experiment),
    NotRun("samplescope score PHOTOS --device cuda:1", "needs two GPUs", takes_these_options),
    NotRun("samplescope estimate PHOTOS --device cuda:1", "needs two GPUs", takes_these_options),
]


# -- the folder that the pages run in ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Score with a small network that is trained for three epochs, and without a map."""

    def quicker(prepare: Callable) -> Callable:
        def prepared(config: attribution_core.ScoreConfig, module: object = None, *rest: object) -> object:
            network = {"model": "mlp", "hidden": (16,)} if config.model == "auto" and module is None else {}
            recipe = config.recipe.model_copy(update={"epochs": min(config.recipe.epochs, 3)})
            return prepare(config.model_copy(update={"map": "off", "recipe": recipe, **network}), module, *rest)

        return prepared

    with pytest.MonkeyPatch.context() as patch:
        for module in (scoring, estimating):
            patch.setattr(module, "prepare", quicker(module.prepare))
        patch.setattr(cli, "usable_cores", lambda: 0)  # trainings of milliseconds are not worth a process each
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quick):
    """What the pages name, and runs/photos, which most of them look at."""
    root = tmp_path_factory.mktemp("docs")
    digits = load_digits()
    for label, name in enumerate(("cat", "dog")):
        (root / "PHOTOS" / name).mkdir(parents=True)
        for number, row in enumerate(np.flatnonzero(digits.target == label)[:40]):
            pixels = np.rint(digits.images[row] * (255 / 16)).astype(np.uint8)
            in_color = np.stack([pixels, pixels // 2, 255 - pixels], axis=2)  # gray images would have one channel
            Image.fromarray(in_color).save(root / "PHOTOS" / name / f"{number:02d}.png")
    rng = np.random.default_rng(0)
    words = {"good": ["warm", "clever", "film"], "bad": ["dull", "tired", "film"]}
    rows = [(" ".join([*rng.choice(words[label], 3), f"{row}"]), label) for row in range(30) for label in words]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(root / "reviews.csv", index=False)
    rooms, area = rng.integers(1, 7, 60), rng.uniform(30, 200, 60)
    price = 1000 * area + 5000 * rooms + rng.normal(0, 1000, 60)
    kind = rng.choice(["house", "flat"], 60)
    houses = pd.DataFrame({"rooms": rooms, "area": area.round(1), "kind": kind, "price": price.round(2)})
    houses.to_csv(root / "houses.csv", index=False)
    make_sentence_encoder(root / "ENCODER")
    _write_weights(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert cli.main(["score", "PHOTOS", "--out", "runs/photos"]) == 0
    run = Run.open(root / "runs" / "photos")
    run.decisions.record(run.examples["id"][-2:].tolist(), "drop")  # as if it had been reviewed, for `clean`
    return root


def _write_weights(root: Path) -> None:
    """Weights for the model file of the page on models, and ImageNet weights' stand-in."""
    from torchvision.models import resnet18

    (model_file,) = (block.code for block in blocks(DOCS / "how-to" / "your-model.md") if block.title == "net.py")
    names: dict = {}
    exec(model_file, names)
    torch.manual_seed(0)
    save_file(names["network"](2).state_dict(), root / "net.safetensors")
    (root / "net.py").write_text(model_file)
    torch.save(resnet18(weights=None).state_dict(), root / "resnet18.pth")


@pytest.mark.parametrize("name", [name for name in NAMES if blocks(ROOT / name)])
def test_every_block_runs(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))  # for `from net import network`, as in a script beside net.py
    for left in [*folder.glob("cleaned*"), *folder.glob("runs/*-cleaned")]:  # by another page
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    names: dict = {"__name__": "__main__"}
    for block in blocks(ROOT / name):
        if block.language == "bash":
            for command in commands(block.code):
                run_command(command)
        elif block.title:
            assert (folder / block.title).read_text() == block.code
        else:
            assert block.language == "python", f"{name} has a block of {block.language!r}: only bash and python are run"
            exec(compile(block.code, name, "exec"), names)


def run_command(command: list[str]) -> None:
    text = " ".join(command)
    for each in NOT_RUN:
        if text.startswith(each.starts_with):
            assert each.check(command), f"{text} names something that does not exist"
            return
    assert command[0] == "samplescope", f"{text} is neither run nor in NOT_RUN"
    if command[1] == "open":
        open_app(*command)
    else:
        assert cli.main(command[1:]) == 0, text


@functools.cache
def open_app(*command: str) -> None:
    """Start the app, wait until it answers, and stop it."""
    module = [sys.executable, "-m", "attribution_core.cli.main", *command[1:]]
    environment = {**os.environ, "BROWSER": "true", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        module, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            address = next(found[0] for line in process.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert answer.status == 200
        finally:
            os.killpg(process.pid, signal.SIGTERM)


# -- what the pages say of the code ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "CONTRIBUTING.md"])
def test_blocks_are_fenced_and_links_lead_somewhere(name):
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    prose = FENCE.sub("", text)
    assert "```" not in prose
    assert not re.search(r"^\n {4,}\S", prose.split("\n:::")[0], re.MULTILINE), "an indented block would not be run"
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"https?://|#", link):
            at = page.parent / link.partition("#")[0]
            picture = ROOT / "assets" / at.name  # docs/hooks.py puts the pictures into the site
            assert at.exists() or (at.suffix == ".png" and picture.exists()), f"{name} links to {link}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_exception_is_used():
    used = {
        each.starts_with
        for name in NAMES
        for block in blocks(ROOT / name)
        if block.language == "bash"
        for command in commands(block.code)
        for each in NOT_RUN
        if " ".join(command).startswith(each.starts_with)
    }
    assert used == {each.starts_with for each in NOT_RUN}


def test_the_reference_holds_every_public_name_once():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    found = re.findall(r"^::: attribution_core\.(\w+)$", pages, re.MULTILINE)
    assert sorted(found) == sorted(attribution_core.__all__)


def test_the_concepts_explain_every_measure_once():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "concepts").glob("*.md"))
    assert sorted(re.findall(r"<!-- measure: (\w+) -->", pages)) == sorted(MEASURES)


def test_the_examples_use_only_public_names():
    for name in NAMES:
        for block in blocks(ROOT / name):
            if block.language == "python":
                for node in ast.walk(ast.parse(block.code)):
                    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ac":
                        assert node.attr in attribution_core.__all__, f"{name} uses ac.{node.attr}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


def test_the_site_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"""<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""", text)
        assert loaded == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_the_site_shows_what_the_registries_hold(site):
    results = (site / "published-results.html").read_text(encoding="utf-8")
    concepts = "".join(page.read_text(encoding="utf-8") for page in (site / "concepts").glob("*.html"))
    assert all(experiment.name in results for experiment in EXPERIMENTS)
    assert concepts.count("<math") >= len(MEASURES)
    assert "<!-- measure" not in concepts
