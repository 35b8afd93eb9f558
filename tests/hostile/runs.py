"""Options, folders, models and weights that do not fit the data."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from tests.hostile.case import Case, score

_MODEL = """
import torch
from torch import nn

def build(num_outputs, input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_outputs))

def wrong_outputs():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

def wrong_inputs(num_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(9, num_outputs))

def no_module():
    return "a model"

def asks_for_more(num_outputs, favourite_colour):
    return nn.Linear(64, num_outputs)

def fails():
    raise RuntimeError("out of ideas")

number = 3
"""


def _digits(*options: str) -> Case.Make:
    return lambda _: score("digits", "--max-train", "100", *options)


def _model(function: str, text: str = _MODEL) -> Case.Make:
    def make(path: Path) -> list[str]:
        (path / "net.py").write_text(text)
        return score("digits", "--model", f"{path / 'net.py'}:{function}")

    return make


def _weights(write, name: str = "w.safetensors") -> Case.Make:
    def make(path: Path) -> list[str]:
        write(path / name)
        return score("digits", "--model", "linear", "--weights", str(path / name))

    return make


class _Evil:
    def __reduce__(self):
        return os.system, ("true",)


def _other_architecture(path: Path) -> None:
    save_file({"0.weight": torch.zeros(3, 5)}, path)


def _other_shapes(path: Path) -> None:
    save_file(nn.Sequential(nn.Flatten(), nn.Linear(9, 10)).state_dict(), path)


def _not_finite(path: Path) -> None:
    state = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).state_dict()
    save_file({name: torch.full_like(value, float("nan")) for name, value in state.items()}, path)


def _pickle(path: Path) -> None:
    torch.save(_Evil(), path)


def _cut(path: Path) -> None:
    save_file(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).state_dict(), path)
    path.write_bytes(path.read_bytes()[:200])


def _existing(write) -> Case.Make:
    """An --out where something is already."""

    def make(path: Path) -> list[str]:
        write(path / "run")
        return score("digits", "--max-train", "100", "--out", str(path / "run"))

    return make


def _newer_run(folder: Path) -> None:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"schema_version": 99}))


def _no_json(folder: Path) -> None:
    folder.mkdir()
    (folder / "run.json").write_text("{oops")


def _other_files(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")


CASES = [
    Case("an unknown model", _digits("--model", "resnet"), "There is no model 'resnet'"),
    Case("a model for larger images", _digits("--model", "cnn4"), "cnn4 takes images"),
    Case("hidden sizes where there are none", _digits("--hidden", "5"), "linear has no hidden sizes"),
    Case("a pattern that is none", _digits("--parameters", "["), "["),
    Case("a pattern that matches nothing", _digits("--parameters", "nothing"), "nothing"),
    Case("a device that is not there", _digits("--device", "cuda:9"), "cuda:9"),
    Case("fewer examples than classes", _digits("--max-train", "3"), "At least one training example of each"),
    Case("a rate that is no number", _digits("--learning-rate", "nan"), "learning_rate"),
    Case("a damping of zero", _digits("--damping", "0"), "damping"),
    Case("images of three pixels", _digits("--image-size", "3"), "image-size"),
    Case("a target for images", _digits("--target", "label"), "has no columns to choose from"),
    Case("a run of a newer version", _existing(_newer_run), "newer"),
    Case("a run whose JSON is broken", _existing(_no_json), "run.json"),
    Case("a folder of other things", _existing(_other_files), "is not empty and is not a run"),
    Case("a file where the run should go", _existing(lambda path: path.write_text("x")), "run"),
    Case("weights for another architecture", _weights(_other_architecture), "are for another model"),
    Case("weights of other shapes", _weights(_other_shapes), "are for another model"),
    Case("weights that are not finite", _weights(_not_finite), "must be finite"),
    Case("weights that are not there", _weights(lambda _: None), "w.safetensors"),
    Case("a pickle posing as safetensors", _weights(_pickle), "w.safetensors"),
    Case("a pickle that runs a command", _weights(_pickle, "w.pt"), "w.pt"),
    Case("weights cut short", _weights(_cut), "w.safetensors"),
    Case("a model file that is not there", lambda _: score("digits", "--model", "/nowhere/net.py:build"), "net.py"),
    Case("a model file that is no Python", _model("build", "def build(:\n"), "net.py"),
    Case("a model file that fails", _model("build", "import nothing_of_that_name"), "nothing_of_that_name"),
    Case("a function that is not there", _model("missing"), "missing"),
    Case("a function that is none", _model("number"), "number"),
    Case("a function that gives no module", _model("no_module"), "no_module"),
    Case("a function that asks for more", _model("asks_for_more"), "favourite_colour"),
    Case("a function that fails", _model("fails"), "out of ideas"),
    Case("a model of other outputs", _model("wrong_outputs"), "10"),
    Case("a model of other inputs", _model("wrong_inputs"), "wrong_inputs"),
]
