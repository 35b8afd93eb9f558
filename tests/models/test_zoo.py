import itertools
import math

import pytest
import torch
from safetensors.torch import save_file
from torch.func import functional_call, grad, jacrev, jvp

from attribution_core.errors import InputError
from attribution_core.gradients import jacobian, plan_parameters, tangent_kernels
from attribution_core.methods.linearized.kernel_influence import relu_ntk
from attribution_core.models import ARCHITECTURES, build_model
from attribution_core.models.networks import CONNECTIONS
from attribution_core.training import Recipe, loss_values, train

LARGER = ["alexnet", "vgg13", "resnet20", "autoencoder", "transformer_lm"]


def problem(name, shape=(1, 28, 28), n=2):
    """The model, n inputs, and targets of 7 classes; a Transformer gets contexts of 6 of 7 tokens."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(7, (n,), generator=generator)
    if name == "transformer_lm":
        return build_model(name, 7, (6,)), torch.randint(7, (n, 6), generator=generator), labels
    inputs = torch.rand(n, *shape, generator=generator)
    if name == "autoencoder":
        return build_model(name, math.prod(shape), shape), inputs, inputs.flatten(1)
    return build_model(name, 7, shape), inputs, labels


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 40)])
def test_every_model_gives_its_outputs(name, shape):
    model, inputs, _ = problem(name, shape)
    assert model(inputs).shape == (2, math.prod(shape) if name == "autoencoder" else 7)


@pytest.mark.parametrize(("name", "side"), [(name, each.min_side) for name, each in ARCHITECTURES.items()])
def test_images_may_be_as_small_as_stated(name, side):
    if side:
        assert build_model(name, 2, (1, side, side)).eval()(torch.zeros(1, 1, side, side)).shape == (1, 2)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_layer_goes_through_factors(name):
    model, inputs, _ = problem(name)
    assert plan_parameters(model, inputs).rest == []


@pytest.mark.parametrize("name", LARGER)
def test_the_larger_networks_learn_and_start_from_their_seed(name):
    model, inputs, targets = problem(name, n=4)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    loss, rate = ("binary_cross_entropy", 1e-4) if name == "autoencoder" else ("cross_entropy", 0.01)
    recipe = Recipe(loss=loss, learning_rate=rate, momentum=0.0, batch_size=4, epochs=4, schedule="constant")
    losses = train(model, (inputs, targets), recipe).epoch_losses
    assert losses[3] < losses[1] < losses[0]
    again = problem(name)[0].state_dict()
    assert all(torch.equal(value, again[key]) for key, value in start.items())


def weights_of(*pairs, biases=True):
    """Return the number of weights in linear layers of these (inputs, outputs)."""
    return sum(inputs * outputs + biases * outputs for inputs, outputs in pairs)


def numbers(name, num_outputs, shape, hidden=()):
    return sum(p.numel() for p in build_model(name, num_outputs, shape, hidden).parameters())


@pytest.mark.parametrize("side", [28, 32])
def test_the_larger_networks_have_the_known_numbers_of_parameters(side):
    kernels = weights_of((9 * 3, 64), (9 * 64, 192), (9 * 192, 384), (9 * 384, 256), (9 * 256, 256))
    width = 256 if side == 28 else 1024
    expected = kernels + weights_of((width, 4096), (4096, 4096), (4096, 10))
    assert numbers("alexnet", 10, (3, side, side)) == expected
    assert numbers("vgg13", 10, (3, side, side)) == 9_404_992 + weights_of((512, 10))  # convolutions of torchvision's
    # section 4.2's 0.27 M: 269,722 with its option A, without weights, and two projections with their normalizations
    projections = weights_of((16, 32), (32, 64), biases=False) + 2 * (32 + 64)
    assert numbers("resnet20", 10, (3, side, side)) == 269_722 + projections


def test_the_autoencoder_and_the_transformer_have_the_known_numbers_of_parameters():
    assert numbers("autoencoder", 784, (1, 28, 28)) == 2_837_314
    sizes = itertools.pairwise([12, 5, 2, 5, 12])
    assert numbers("autoencoder", 12, (3, 2, 2), [5, 2]) == weights_of(*sizes)
    block = weights_of(*[(256, 256)] * 4, biases=False) + weights_of((256, 1024), (1024, 256)) + 4 * 256
    assert numbers("transformer_lm", 50, (9,)) == (50 + 9) * 256 + 2 * block + 2 * 256 + weights_of((256, 50))


def test_the_code_is_linear_and_units_start_sparsely_connected():
    model = build_model("autoencoder", 784, (1, 28, 28))
    kinds = [type(layer).__name__ for layer in model]
    assert kinds == ["Flatten", *["Linear", "Sigmoid"] * 3, "Linear", *["Linear", "Sigmoid"] * 3, "Linear"]
    assert all((layer.weight != 0).sum(dim=1).eq(CONNECTIONS).all() for layer in model if hasattr(layer, "weight"))


def test_a_token_changes_only_what_follows_it():
    model = build_model("transformer_lm", 7, (6,), hidden=[8]).double()
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    for place in range(6):
        other = tokens.clone()
        other[0, place] = 0
        change = (model.hidden_states(other) - model.hidden_states(tokens)).norm(dim=2)[0]
        assert (change[:place] == 0).all()
        assert (change[place:] > 1e-6).all()
        assert not torch.allclose(model(other), model(tokens))
    assert not torch.allclose(model(tokens[:, [1, 0, 2, 3, 4, 5]]), model(tokens))
    assert model(tokens[:, :3]).shape == (1, 7)


def test_the_transformer_has_every_derivative():
    """Jacobians by factors, and Hessian products forward over reverse, against autograd and differences."""
    model = build_model("transformer_lm", 5, (4,), hidden=[6]).double()
    generator = torch.Generator().manual_seed(0)
    tokens, labels = torch.randint(5, (3, 4), generator=generator), torch.tensor([0, 4, 2])
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    whole = jacrev(lambda weights: functional_call(model, weights, (tokens,)))(parameters)
    found = jacobian(model, tokens, plan_parameters(model, tokens))[1]
    assert torch.allclose(found, torch.cat([value.flatten(2) for value in whole.values()], dim=2), atol=1e-12)

    def loss(weights):
        return loss_values(functional_call(model, weights, (tokens,)), labels, "cross_entropy").mean()

    direction = {name: torch.randn(p.shape, generator=generator).double() for name, p in parameters.items()}
    product = jvp(grad(loss), (parameters,), (direction,))[1]
    ahead, behind = (grad(loss)({n: p + step * direction[n] for n, p in parameters.items()}) for step in (1e-5, -1e-5))
    for name, value in product.items():
        assert torch.allclose(value, (ahead[name] - behind[name]) / 2e-5, rtol=1e-5, atol=1e-8), name


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


def test_weights_are_seeded_and_the_global_generator_keeps_its_state():
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
    model = build_model("linear", 2, (3,), weights=tmp_path / "pickle.safetensors")
    assert torch.equal(model[1].weight, source[1].weight)
    with pytest.raises(InputError, match="Weights cannot be read"):
        build_model("linear", 2, (3,), weights=tmp_path / "nothing.safetensors")


def test_bad_choices_are_refused():
    with pytest.raises(InputError, match="choose one of linear, mlp, two_layer, lenet5, cnn4"):
        build_model("resnet", 2, (1, 28, 28))
    with pytest.raises(InputError, match="20 pixels a side"):
        build_model("cnn4", 2, (1, 8, 8))
    for name in ("lenet5", "alexnet", "vgg13", "resnet20"):
        with pytest.raises(InputError, match=f"{name} has no hidden sizes"):
            build_model(name, 2, (1, 28, 28), hidden=[3])
    with pytest.raises(InputError, match="17 pixels a side"):
        build_model("vgg13", 2, (1, 16, 16))
    with pytest.raises(InputError, match="as many outputs as an input has values, 784, not 10"):
        build_model("autoencoder", 10, (1, 28, 28))
    with pytest.raises(InputError, match=r"input must be \[length\]"):
        build_model("transformer_lm", 10, (1, 28, 28))
    with pytest.raises(InputError, match="a multiple of 2, not 7"):
        build_model("transformer_lm", 10, (6,), hidden=[7])
    with pytest.raises(InputError, match="takes one size"):
        build_model("transformer_lm", 10, (6,), hidden=[8, 8])
