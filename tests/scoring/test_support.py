import pytest
import torch
from torch import nn

import attribution_core as ac
from attribution_core.scoring.stages import STAGES
from attribution_core.scoring.support import WORKS

TITLES = {stage.name: stage.title for stage in STAGES}
CONTRIBUTIONS, SENSITIVITIES, INFLUENCE = (TITLES[name] for name in ("contributions", "sensitivity", "influence"))
INFORMATION, EMBEDDINGS = TITLES["linearised"], TITLES["embeddings"]


def test_all_works_on_a_plain_network():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    assert set(ac.supported_measures(model, torch.zeros(2, 1, 2, 2)).values()) == {WORKS}


def test_each_reason_names_the_layer():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    found = ac.supported_measures(model, torch.zeros(2, 4))
    assert "Layer '2' (Dropout)" in found.pop(CONTRIBUTIONS)
    assert set(found.values()) == {WORKS}
    iblr = ac.supported_measures(model, torch.zeros(2, 4), ac.Recipe(optimizer="iblr"))
    assert "SGD, Adam and AdamW, not iblr" in iblr[CONTRIBUTIONS]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_all_works_with_batch_normalization_and_any_of_these_optimizers(optimizer):
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    found = ac.supported_measures(model, torch.randn(2, 4), ac.Recipe(optimizer=optimizer))
    assert set(found.values()) == {WORKS}


def test_a_wrapped_module_is_looked_into():
    model = nn.DataParallel(nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 3)))
    assert set(ac.supported_measures(model, torch.zeros(2, 4)).values()) == {WORKS}
    with_complex = nn.Linear(4, 3, dtype=torch.cfloat)
    for reason in ac.supported_measures(with_complex, torch.zeros(2, 4)).values():
        assert "'weight' is complex64" in reason


def test_nothing_works_where_examples_meet_in_evaluation():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3))
    for reason in ac.supported_measures(model, torch.zeros(2, 4)).values():
        assert "Layer '1' normalizes by the statistics of its batch" in reason


@pytest.mark.parametrize("outputs", [1, 3])
def test_what_has_no_linear_head_has_the_measures_of_the_whole(outputs):
    model = nn.Sequential(nn.Linear(4, outputs), nn.ReLU())
    nn.init.ones_(model[0].bias)  # so that the ReLU changes nothing of what zeros give
    found = ac.supported_measures(model, torch.zeros(2, 4))
    assert "does not end in a linear layer" in found[INFORMATION]
    assert found[EMBEDDINGS] == found[INFORMATION]
    assert found[SENSITIVITIES] == found[INFLUENCE] == WORKS
    assert ac.supported_measures(model, torch.zeros(2, 4), parameters="all")[INFORMATION] == WORKS
