import pytest
import torch
from safetensors.torch import save_file

from attribution_core.errors import InputError
from attribution_core.gradients import plan_parameters, tangent_kernels
from attribution_core.methods.ntk_influence import relu_ntk
from attribution_core.models import ARCHITECTURES, build_model


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 40)])
def test_every_model_gives_its_outputs(name, shape):
    assert build_model(name, 7, shape)(torch.zeros(2, *shape)).shape == (2, 7)


def test_cnn4_is_the_network_of_the_paper():
    kinds = [tuple(p.shape) for p in build_model("cnn4", 1, (1, 28, 28)).parameters() if p.ndim > 1]
    assert kinds == [(32, 1, 4, 4), (32, 32, 4, 4), (64, 32, 3, 3), (256, 64, 3, 3), (256, 2304), (1, 256)]


def test_the_wide_two_layer_networks_kernel_tends_to_the_limit():
    inputs = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    errors = []
    for width in (100, 10_000, 80_000):
        model = build_model("two_layer", 1, (5,), hidden=[width]).double()
        kernel = tangent_kernels(model, inputs, inputs, plan_parameters(model, inputs))[0]
        errors.append(float((kernel - relu_ntk(inputs, inputs)).norm() / relu_ntk(inputs, inputs).norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_weights_are_seeded_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (build_model("mlp", 2, (3,), hidden=[4], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one[1].weight, same[1].weight)
    assert not torch.equal(one[1].weight, other[1].weight)


def test_weights_are_loaded_from_safetensors(tmp_path):
    source = build_model("linear", 2, (3,), seed=4)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model = build_model("linear", 2, (3,), weights=tmp_path / "weights.safetensors")
    assert torch.equal(model[1].weight, source[1].weight)
    with pytest.raises(InputError, match="for another model"):
        build_model("linear", 3, (3,), weights=tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="for another model"):
        build_model("mlp", 2, (3,), weights=tmp_path / "weights.safetensors")
    torch.save(source.state_dict(), tmp_path / "pickle.safetensors")
    with pytest.raises(InputError, match="expected a safetensors file"):
        build_model("linear", 2, (3,), weights=tmp_path / "pickle.safetensors")
    with pytest.raises(InputError, match="Could not read weights"):
        build_model("linear", 2, (3,), weights=tmp_path / "nothing.safetensors")


def test_bad_choices_are_refused():
    with pytest.raises(InputError, match="choose one of linear, mlp, two_layer, lenet5, cnn4"):
        build_model("resnet", 2, (1, 28, 28))
    with pytest.raises(InputError, match="20 pixels a side"):
        build_model("cnn4", 2, (1, 8, 8))
    with pytest.raises(InputError, match="mlp and two_layer have"):
        build_model("lenet5", 2, (1, 28, 28), hidden=[3])
