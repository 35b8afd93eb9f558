"""Modules as programs build them, turned into ones that can be watched and copied."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from attribution_core.errors import InputError
from attribution_core.models import evaluation_mode
from attribution_core.models.plain import copy_of, make_plain, materialize, unwrap_layers, unwrapped
from attribution_core.models.watching import last_operation, random_calls
from tests.support import odd_models as odd


def test_wrappers_are_taken_off_at_any_depth():
    inner = odd.Base()
    assert unwrapped(torch.compile(nn.DataParallel(inner)), "it") is inner
    inner.conv = nn.DataParallel(inner.conv)
    unwrap_layers(inner)
    assert type(inner.conv) is nn.Conv2d


def test_weight_normalization_by_hooks_computes_the_same_afterwards():
    model = odd.weight_normalized()
    with torch.no_grad():
        model.conv.weight_g.mul_(2)
    x = torch.randn(3, 1, 8, 8)
    before = model(x)
    make_plain(model, "it")
    assert torch.allclose(model(x), before, atol=1e-6)
    assert torch.allclose(copy_of(model)(x), before, atol=1e-6)
    assert not model.conv._forward_pre_hooks


def test_other_hooks_that_compute_a_weight_are_refused_by_name():
    model = odd.Base()
    model.head = nn.utils.spectral_norm(model.head)
    with pytest.raises(InputError, match=r"Layer 'head' of it computes its weight in a hook \(SpectralNorm\)"):
        make_plain(model, "it")


def test_lazy_layers_get_their_sizes_from_the_seed():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        model = odd.lazy()
        materialize(model, (1, 8, 8))
        states.append(model.state_dict())
    assert states[0]["1.weight"].shape == (8, 64)
    assert torch.equal(states[0]["1.weight"], states[1]["1.weight"])


def test_half_precision_is_widened_without_changing_a_value():
    model = odd.Base().bfloat16()
    before = model.conv.weight.detach().clone()
    make_plain(model, "it")
    assert model.conv.weight.dtype == torch.float32
    assert torch.equal(model.conv.weight, before.float())


def test_the_last_operation_is_that_which_changed_values():
    x = torch.randn(2, 3, requires_grad=True)
    assert last_operation(x.softmax(1).view(2, 3)[:, None].squeeze(1)) == "softmax"
    assert last_operation(x.log_softmax(1)) == "log_softmax"
    assert last_operation(x.clone().reshape(3, 2)) == ""


def test_random_calls_are_named_with_their_layer():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    assert random_calls(model, torch.zeros(1, 2)) == ["dropout in layer '1' (Dropout)"]
    assert random_calls(model.eval(), torch.zeros(1, 2)) == []


def test_evaluation_mode_leaves_the_choice_of_kernels_as_it_was():
    model = nn.Linear(1, 1)
    fast = torch.backends.mha.get_fastpath_enabled()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        with evaluation_mode(model):
            assert not torch.backends.mha.get_fastpath_enabled()
            assert not torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.mha.get_fastpath_enabled() == fast
