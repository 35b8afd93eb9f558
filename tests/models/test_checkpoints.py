"""Files of weights as other programs write them: loaded by content and names, or refused with what does not fit."""

import argparse
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from attribution_core.errors import InputError
from attribution_core.models.weights import load_weights


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.head = nn.Linear(2, classes)


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Net()


def prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def loads(state, path, model=None):
    model = model or Net()
    load_weights(model, path)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {name: value.clone() + 1 for name, value in Net().state_dict().items()}


@pytest.mark.parametrize("suffix", ["pt", "pth", "pth.tar", "ckpt", "tar", "pkl", "bin", "model", "safetensors"])
@pytest.mark.parametrize("legacy", [False, True])
def test_the_content_decides_and_not_the_suffix(state, tmp_path, suffix, legacy):
    torch.save(state, tmp_path / f"w.{suffix}", _use_new_zipfile_serialization=not legacy)
    loads(state, tmp_path / f"w.{suffix}")
    save_file(state, tmp_path / f"s.{suffix}")
    loads(state, tmp_path / f"s.{suffix}")


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "weights", "ema", "model/module"])
def test_weights_are_found_beside_what_a_training_program_keeps(state, tmp_path, key):
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    model.head(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    inner = state
    for name in reversed(key.split("/")):
        inner = {name: inner}
    others = {"epoch": 3, "optimizer": optimizer.state_dict(), "best_acc1": torch.tensor(0.5), "args": {"lr": 0.1}}
    torch.save({**others, **inner}, tmp_path / "w.pth.tar")
    loads(state, tmp_path / "w.pth.tar")


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "model._orig_mod.", "encoder.model."]
)
@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_prefixes_of_wrappers_are_taken_off(state, tmp_path, prefix, form):
    given = prefixed(state, prefix)
    if form == "pt":
        torch.save({"state_dict": given}, tmp_path / "w.pt")
    else:
        save_file(given, tmp_path / "w.safetensors")
    loads(state, tmp_path / f"w.{form}")


def test_wrappers_within_the_names_are_taken_off(state, tmp_path):
    parts = {name.replace("features.", "features.module."): value for name, value in state.items()}
    torch.save(parts, tmp_path / "w.pt")
    loads(state, tmp_path / "w.pt")


def test_a_model_that_wraps_what_was_saved_loads_it(state, tmp_path):
    torch.save(state, tmp_path / "w.pt")
    loads(prefixed(state, "backbone."), tmp_path / "w.pt", Wrapped())
    loads(prefixed(state, "module."), tmp_path / "w.pt", nn.DataParallel(Net()))


def test_what_a_lightning_module_has_besides_its_network_is_left(state, tmp_path):
    given = {**prefixed(state, "model."), "criterion.weight": torch.ones(3), "metric.total": torch.ones(1)}
    torch.save({"state_dict": given, "pytorch-lightning_version": "2.5", "hyper_parameters": {"lr": 1}}, tmp_path / "c")
    loads(state, tmp_path / "c")


def test_weights_come_before_their_moving_average_and_other_choices_are_refused(state, tmp_path):
    other = {name: value + 1 for name, value in state.items()}
    torch.save({"model_ema": other, "model": state}, tmp_path / "ema.pt")
    loads(state, tmp_path / "ema.pt")
    averaged = {**prefixed(other, "ema_model.module."), **prefixed(state, "model.")}
    torch.save({"state_dict": averaged}, tmp_path / "lightning.ckpt")
    loads(state, tmp_path / "lightning.ckpt")
    torch.save({"generator": other, "best": state}, tmp_path / "two.pt")
    with pytest.raises(InputError, match="holds several sets of weights that fit this model, 'generator' and 'best'"):
        load_weights(Net(), tmp_path / "two.pt")


def test_numbers_of_half_precision_are_widened(state, tmp_path):
    torch.save({name: value.to(torch.bfloat16) for name, value in state.items()}, tmp_path / "w.pt")
    model = Net()
    load_weights(model, tmp_path / "w.pt")
    assert model.head.weight.dtype == torch.float32
    assert torch.allclose(model.head.weight, state["head.weight"], rtol=1e-2)


def test_what_does_not_fit_is_named_with_shapes(state, tmp_path):
    torch.save(prefixed(state, "module."), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"'head.weight' must be \[5, 2\], but it is \[3, 2\], and 1 more"):
        load_weights(Net(5), tmp_path / "w.pt")
    fewer = {name: value for name, value in state.items() if not name.startswith("head")}
    torch.save({**fewer, "fc.weight": state["head.weight"]}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"'head.weight' is missing, and 1 more; 'fc.weight' is not in the model"):
        load_weights(Net(), tmp_path / "w.pt")


def refused(tmp_path, message, name="w.pt"):
    with pytest.raises(InputError, match=message) as error:
        load_weights(Net(), tmp_path / name)
    assert "\n" not in str(error.value)


def test_nothing_but_tensors_is_unpickled(state, tmp_path):
    model = Net()
    torch.save(model, tmp_path / "w.pt")
    refused(tmp_path, r"holds an object of [\w.]*Net.*save the weights alone, with torch.save\(model.state_dict\(\)")
    torch.save({"model": state, "args": argparse.Namespace(lr=1)}, tmp_path / "w.pt")
    refused(tmp_path, "holds an object of argparse.Namespace")
    torch.save({name: value.numpy() for name, value in state.items()}, tmp_path / "w.pt")
    refused(tmp_path, "holds NumPy values")
    with (tmp_path / "w.pt").open("wb") as file:
        pickle.dump(state, file)
    refused(tmp_path, "was written by pickle, not by PyTorch")
    torch.jit.script(nn.Linear(2, 3)).save(tmp_path / "w.pt")
    refused(tmp_path, "is a TorchScript archive")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "but is neither"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"PK\x03\x04", "damaged or holds something else"),
        ((99).to_bytes(8, "little") + b"{" + b" " * 200, "a damaged safetensors file"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / "w.pt").write_bytes(content)
    refused(tmp_path, message)


def test_folders_and_archives_without_weights_are_named(tmp_path):
    refused(tmp_path, "is a folder", ".")
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    refused(tmp_path, "damaged or holds something else", "w.npz")
