import re
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from attribution_core.errors import InputError
from attribution_core.models.checkpoints import read_checkpoint
from attribution_core.models.user_file import (
    UserModel,
    is_user_model,
    load_function,
    load_preprocessing,
    parse_user_model,
    require_class_names,
)
from attribution_core.models.weights import load_weights

LINEAR = "from torch import nn\ndef build(num_outputs, input_shape, class_names, seed, bias=True):\n"


def written(folder, text, name="net.py"):
    path = folder / name
    path.write_text(text)
    return path


def built(path, weights=None, seed=0, function="build"):
    return UserModel(path, function, 3, (1, 2, 2), ("a", "b", "c"), weights)(seed)


def test_a_function_gets_the_arguments_that_it_takes(tmp_path):
    path = written(
        tmp_path,
        LINEAR + "    assert (num_outputs, input_shape, class_names, seed) == (3, (1, 2, 2), ['a', 'b', 'c'], 5)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(4, num_outputs, bias))\n",
    )
    state = torch.get_rng_state()
    model, again = built(path, seed=5), built(path, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model[1].weight, again[1].weight)


def test_a_function_may_take_no_arguments_and_import_its_neighbors(tmp_path):
    written(tmp_path, "from torch import nn\nclass Net(nn.Linear):\n    pass\n", "layers_beside.py")
    path = written(tmp_path, "from layers_beside import Net\ndef build():\n    return Net(4, 3)\n")
    assert type(built(path)).__name__ == "Net"


def test_a_changed_file_is_another_model(tmp_path):
    path = written(tmp_path, "from torch import nn\ndef build():\n    return nn.Linear(4, 3)\n")
    assert built(path).in_features == 4
    written(tmp_path, "from torch import nn\ndef build():\n    return nn.Linear(5, 3)\n")
    assert built(path).in_features == 5


def test_nothing_is_compiled_into_the_folder_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "sibling_of_net.py").write_text("WIDTH = 6\n")
    text = "from torch import nn\nfrom sibling_of_net import WIDTH\ndef build():\n    return nn.Linear(WIDTH, 3)\n"
    assert built(written(tmp_path, text)).in_features == 6
    assert [each.name for each in sorted(tmp_path.iterdir())] == ["net.py", "sibling_of_net.py"]
    assert not sys.dont_write_bytecode


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(:\n", "failed with SyntaxError"),
        ("import nothing_of_this_name\n", "failed with ModuleNotFoundError: No module named"),
        ("build = 3\n", "has no function 'build'"),
        ("def build(width):\n    pass\n", "requires width, but it can only be given num_outputs"),
        ("def build():\n    return 1 / 0\n", "failed with ZeroDivisionError: division by zero"),
        ("def build():\n    return 3\n", "must return a torch.nn.Module, but it returned a int"),
    ],
)
def test_a_failing_file_is_reported_in_one_sentence(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        built(written(tmp_path, text))


def test_a_reference_names_a_file_and_a_function(tmp_path, monkeypatch):
    path = written(tmp_path, "")
    monkeypatch.chdir(tmp_path)
    assert parse_user_model("net.py:build") == (path, "build")
    assert is_user_model("C:/x/net.py:build")
    assert not is_user_model("mlp")
    with pytest.raises(InputError, match=r"Give it as net.py:FUNCTION"):
        parse_user_model("net.py")
    with pytest.raises(InputError, match=r"There is no file other\.py"):
        parse_user_model("other.py:build")
    with pytest.raises(InputError, match="has no function 'build'"):
        load_function(path, "build")


def test_preprocessing_is_read_and_validated(tmp_path):
    given = load_preprocessing(written(tmp_path, "PREPROCESSING = {'mean': [0.5], 'std': [0.2], 'size': 32}\n"))
    assert (given.mean, given.std, given.size, given.channels) == ((0.5,), (0.2,), (32, 32), 1)
    assert load_preprocessing(written(tmp_path, "PREPROCESSING = {'size': [8, 12]}\n")).size == (8, 12)
    assert load_preprocessing(written(tmp_path, "\n")) is None
    for text, message in (
        ("{'mean': [0.5]}", "mean and std must both have"),
        ("{'mean': [0.5], 'std': [0.0]}", r"PREPROCESSING.std.0 in .* greater than 0"),
        ("{'mean': [0.5], 'sd': [0.2]}", "PREPROCESSING.sd"),
        ("[1, 2]", "must look like"),
    ):
        with pytest.raises(InputError, match=message):
            load_preprocessing(written(tmp_path, f"PREPROCESSING = {text}\n"))


def test_classes_in_another_order_are_refused_with_the_right_order(tmp_path):
    path = written(tmp_path, "CLASS_NAMES = ['b', 'c', 'a']\n")
    require_class_names(path, ["b", "c", "a"])
    with pytest.raises(InputError, match=r"take the rows \[2, 0, 1\] of the last layer's weight"):
        require_class_names(path, ["a", "b", "c"])
    with pytest.raises(InputError, match="is for the classes b, c, a, but the dataset has a, b"):
        require_class_names(path, ["a", "b"])


def test_weights_are_read_from_either_form_and_never_unpickled(tmp_path):
    model = nn.Linear(2, 3)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    torch.save(model.state_dict(), tmp_path / "w.pt")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pt", "w.pth"):
        other = nn.Linear(2, 3)
        load_weights(other, tmp_path / name)
        assert torch.equal(other.weight, model.weight)
    torch.save(model, tmp_path / "whole.pt")
    with pytest.raises(InputError, match=r"whole.pt must hold only a state dict.*torch.save\(model.state_dict\(\)"):
        read_checkpoint(tmp_path / "whole.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="must hold a state dict"):
        read_checkpoint(tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"Weights cannot be read from .*nowhere\.pt: No such file"):
        read_checkpoint(tmp_path / "nowhere.pt")
    with pytest.raises(InputError, match="are for another model"):
        load_weights(nn.Linear(3, 3), tmp_path / "w.pt")


def test_old_checkpoints_without_counters_of_batches_fit(tmp_path):
    norm = nn.BatchNorm1d(2)
    state = {name: value for name, value in norm.state_dict().items() if name != "num_batches_tracked"}
    save_file({**state, "weight": torch.tensor([2.0, 3.0])}, tmp_path / "w.safetensors")
    load_weights(norm, tmp_path / "w.safetensors")
    assert norm.weight.tolist() == [2, 3]
