"""Plans that do not fit into memory are refused before anything is made, with what would fit."""

import json
import re
import sys

import pytest
import torch

from attribution_core import memory
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.preparation.prepare import prepare
from attribution_core.scoring import estimate, memory_check
from attribution_core.scoring.memory_check import peak_of, require_memory, stages_left
from attribution_core.scoring.score import score
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.support import skip_reasons
from tests.support.scored import quick

LARGE = {"parameters": "all", "hidden": (64,)}  # 1.1 GB with all examples


def free(monkeypatch, count: int | None) -> None:
    for module in (memory_check, estimate):
        monkeypatch.setattr(module, "free_bytes", lambda _device: count)


def require_fitting(config) -> None:
    prepared = prepare(config)
    require_memory(prepared, skip_reasons(prepared))


def test_a_run_that_does_not_fit_is_refused_with_what_would(tmp_path, monkeypatch, capsys):
    free(monkeypatch, 900_000_000)
    out = tmp_path / "run"
    options = ["--parameters", "all", "--hidden", "64", "--out", str(out)]
    assert main(["score", "digits", *options]) == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert "and 0.9 GB are free on this machine: score" in said
    assert not out.exists()
    fitting = int(re.search(r"--max-train (\d+)", said).group(1))
    assert 100 <= fitting < 1257
    free(monkeypatch, 810_000_000)  # a tenth is left to spare
    require_fitting(quick(tmp_path, **LARGE, max_train=fitting))
    with pytest.raises(InputError, match="would need about"):
        require_fitting(quick(tmp_path, **LARGE, max_train=fitting + 1))


def test_the_estimate_refuses_what_the_run_refuses(tmp_path, monkeypatch):
    config = quick(tmp_path, max_train=400)
    prepared = prepare(config)
    sizes = RunSizes(prepared)
    peak = peak_of(sizes, stages_left(sizes, skip_reasons(prepared)))
    for count, fits in ((peak, True), (peak - 1, False), (None, True)):
        free(monkeypatch, count)
        found = estimate.estimate(config)
        assert (found.refusal == "") == fits
        if fits:
            found.require_memory()
            require_fitting(config)
            continue
        with pytest.raises(InputError, match="use smaller images, or turn measures off"):
            found.require_memory()
        with pytest.raises(InputError, match="use smaller images, or turn measures off"):
            require_fitting(config)
    assert found.memory >= found.base + peak


def test_no_number_of_examples_is_proposed_that_is_not_worth_scoring(tmp_path, monkeypatch):
    free(monkeypatch, 1_000_000)
    with pytest.raises(InputError, match=r"and 0\.0 GB are free on this machine: use smaller images"):
        score(quick(tmp_path, max_train=None))
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_of_a_run_needs_no_memory(tmp_path, monkeypatch):
    config = quick(tmp_path, max_train=150, influence="off", sensitivity="off")
    whole = score(config)
    manifest = whole.path / "run.json"
    free(monkeypatch, 0)
    assert score(config).status == "complete"

    def undo(stage: str) -> None:
        plain = json.loads(manifest.read_text())
        del plain["stages"][stage]
        manifest.write_text(json.dumps(plain))

    undo("classes")  # which takes next to nothing
    assert score(config).status == "complete"
    undo("linearised")
    before = manifest.read_text()
    with pytest.raises(InputError, match="would need about"):
        score(config)
    assert manifest.read_text() == before
    free(monkeypatch, None)
    assert score(config).status == "complete"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems tell only the peak")
def test_what_is_free_and_held_on_this_machine():
    cpu = torch.device("cpu")
    before = memory.used_bytes(cpu)
    assert 2**20 < memory.free_bytes(cpu) < 2**50
    block = torch.ones(2**28, dtype=torch.uint8)
    assert memory.used_bytes(cpu) >= before + 2**27
    del block
    assert memory.used_bytes(cpu) < before + 2**27 <= memory.peak_bytes(cpu)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_its_own_memory_counts(tmp_path, monkeypatch):
    gpu = torch.device("cuda")
    before = memory.free_bytes(gpu)
    block = torch.empty(2**28, dtype=torch.uint8, device=gpu)
    assert memory.free_bytes(gpu) <= before - 2**27
    assert memory.used_bytes(gpu) >= 2**28
    del block
    assert memory.free_bytes(gpu) >= before - 2**27  # what PyTorch keeps for later is free
    free(monkeypatch, 0)
    with pytest.raises(InputError, match="free on this GPU"):
        require_fitting(quick(tmp_path, device="cuda"))


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch):
    whole = memory.free_bytes(torch.device("cpu"))
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    for name, text in (("max", "5000000\n"), ("current", "3000000\n"), ("stat", "anon 7\ninactive_file 1000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.free_bytes(torch.device("cpu")) == 2_001_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(torch.device("cpu")) == pytest.approx(whole, rel=0.5)
