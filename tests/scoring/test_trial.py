"""Models that do not do what a run requires: each is met before anything is trained, by its true reason."""

import warnings

import pytest
import torch
from torch import nn

import attribution_core as ac
from attribution_core.errors import InputError
from attribution_core.preparation.prepare import prepare
from attribution_core.runs import Run
from attribution_core.scoring import trial
from attribution_core.scoring.estimate import estimate_prepared
from attribution_core.scoring.support import skip_reasons, skipped_titles
from tests.support import odd_models as odd

EVERY = {"fsi", "si", "contribution", "variance", "error", "sensitivity", "loo_loss", "self_influence"}
CONTRIBUTIONS, SENSITIVITIES = "contributions (HYDRA)", "sensitivities (MPE)"


@pytest.fixture(scope="module")
def splits():
    return ac.open_dataset("digits", max_train=40)


def config(**given):
    recipe = ac.Recipe(epochs=1, batch_size=given.pop("batch_size", 16))
    return ac.ScoreConfig(data="digits", map="off", training="fine-tune", recipe=recipe, **given)


def skipped(model, splits, **given):
    """Return what a run of this module will not have, with the reasons."""
    found = skipped_titles(skip_reasons(prepare(config(**given), model, splits)))
    return {title: reason for title, reason in found.items() if title != "map"}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (odd.FunctionalDropout, r"change from call to call, .* \(dropout in its forward \(FunctionalDropout\)\)"),
        (odd.Noise, r"change from call to call, .* \(randn_like in its forward \(Noise\)\)"),
        (odd.Squeezed, r"for one example this one gives \[10\] instead of \[1, 10\]: keep the axis"),
        (odd.Centered, r"change with its batch, .* \(layer 'head' \(Linear\) is the first"),
        (odd.NotFinite, r"not finite numbers: its forward \(NotFinite\) is the first"),
        (odd.Complex, r"must be real numbers, but 'matrix' is complex64"),
        (odd.Auxiliary, r"in training mode too, but it returns a tuple: return the logits alone"),
        (lambda: odd.Ending(lambda x: x.softmax(1)), r"are probabilities already \(it ends in softmax\)"),
        (lambda: odd.Ending(lambda x: x.softmax(1).flatten(1)), r"are probabilities already \(it ends in softmax\)"),
        (lambda: odd.Ending(torch.sigmoid), r"are probabilities already \(it ends in sigmoid\)"),
        (
            lambda: odd.Ending(lambda x: x.exp() / x.exp().sum(1, keepdim=True)),
            "are probabilities already .it ends in probabilities that sum to one",
        ),
        (lambda: odd.Ending(lambda x: {"logits": x}), "it gave a dict of logits: return the logits alone"),
        (lambda: odd.Ending(lambda x: (x, x)), "it gave a tuple of 2: return the logits alone"),
        (lambda: odd.Ending(lambda x: x + 0j), "are complex64"),
        (lambda: odd.Ending(lambda x: x.half()), "are float16"),
        (lambda: odd.Ending(lambda x: x.detach()), "depend on none of its parameters by a differentiable path"),
        (lambda: odd.Ending(lambda x: x[:, :3]), r"of shape \[2, 10\] for 2 examples; it gave \[2, 3\]"),
        (lambda: nn.Flatten(), "has no parameters"),
        (lambda: nn.utils.spectral_norm(odd.Base().head), "does not take inputs|computes its weight in a hook"),
    ],
)
def test_the_reason_is_the_true_one_and_comes_before_training(splits, model, message):
    for parameters in ("head", "all"):
        with pytest.raises(InputError, match=message) as error:
            skipped(model(), splits, parameters=parameters)
        assert "\n" not in str(error.value)


def test_torchscript_is_refused(splits):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(odd.Base())
    with pytest.raises(InputError, match="is a TorchScript module"):
        skipped(scripted, splits)


@pytest.mark.parametrize("end", ["mul", "log_softmax"])
def test_what_follows_the_head_is_named_and_all_parameters_work(splits, end):
    model = odd.Ending(lambda x: x * 3 if end == "mul" else x.log_softmax(1))
    with pytest.raises(InputError, match=rf"parameters is 'head', Linear, but {end} changes what it gives"):
        skipped(model, splits)
    assert set(skipped(model, splits, parameters="all")) == {"embeddings, near-duplicates and map"}


@pytest.mark.parametrize("model", [odd.Squeezed, lambda: odd.Ending(lambda x: x * 3)])
def test_the_estimate_says_what_the_run_would(splits, model):
    prepared = prepare(config(), model(), splits)
    with pytest.raises(InputError) as of_run:
        skip_reasons(prepared)
    with pytest.raises(InputError) as of_estimate:
        estimate_prepared(prepared, 0.0)
    assert str(of_estimate.value) == str(of_run.value)


def test_a_temperature_of_one_is_no_part_of_the_head(splits):
    with pytest.raises(InputError, match="but div changes what it gives"):
        skipped(odd.Scaled(), splits)


@pytest.mark.parametrize(("given", "batch"), [({"batch_size": 39}, 1), ({"batch_size": 16}, 4)])
def test_a_batch_that_cannot_be_trained_on_is_refused(splits, given, batch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 10))
    if batch == 1:
        with pytest.raises(
            InputError, match=r"layer '2' \(BatchNorm1d\) raised ValueError .*, as the last of an epoch"
        ):
            skipped(model, splits, **given)
    else:
        assert skipped(model, splits, **given) == {}


def test_random_numbers_in_training_skip_contributions_alone(splits):
    found = skipped(odd.TrainingDropout(), splits)
    assert set(found) == {CONTRIBUTIONS}
    assert "in training mode (dropout in its forward (TrainingDropout))" in found[CONTRIBUTIONS]


def test_an_operation_without_second_derivatives_skips_what_needs_them(splits, tmp_path, monkeypatch):
    reasons, tried = [], []
    derived = trial._second_derivatives
    monkeypatch.setattr(trial, "_second_derivatives", lambda *given: (tried.append(1), derived(*given)))
    run = ac.score(config(out=tmp_path / "run"), model=odd.OnceDifferentiable(), splits=splits, announce=reasons.append)
    assert set(run.manifest.measures) >= EVERY - {"variance", "error", "sensitivity", "loo_loss"}
    reason = next(each for each in reasons if SENSITIVITIES in each)
    assert "no second derivatives, because one of its operations lacks them" in reason
    assert "once_differentiable" in reason
    assert len(tried) == 1


@pytest.mark.parametrize(
    "model",
    [
        lambda: odd.Base().bfloat16(),
        lambda: odd.Base().half(),
        lambda: odd.Base().double(),
        lambda: nn.DataParallel(odd.Base()),
        lambda: nn.DataParallel(odd.Base().bfloat16()),
        lambda: torch.optim.swa_utils.AveragedModel(odd.Base()),
        lambda: odd.Base().to(memory_format=torch.channels_last),
        odd.weight_normalized,
        odd.parametrized,
        odd.lazy,
        odd.Unused,
        odd.Remembers,
        odd.Attention,
    ],
)
def test_these_get_every_measure(splits, tmp_path, model):
    built = model()
    run = ac.score(config(out=tmp_path / "run"), model=built, splits=splits)
    assert set(run.manifest.measures) >= EVERY
    assert run.examples[sorted(EVERY)].notna().all(axis=None)


def test_compiled_models_are_scored_without_compiling(splits, monkeypatch):
    monkeypatch.setattr(torch._dynamo.eval_frame.OptimizedModule, "__call__", lambda *_: 1 / 0)
    inner = odd.Base()
    inner.conv = torch.compile(inner.conv)
    assert skipped(torch.compile(inner), splits) == {}


def test_a_model_that_keeps_its_last_result_may_have_run_before(splits):
    model = odd.Remembers()
    model(torch.zeros(1, 1, 8, 8))
    assert skipped(model, splits) == {}


def test_a_vision_transformer_gets_every_measure(splits, tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=8, patch_size=4, in_chans=1, num_classes=10, depth=1, embed_dim=8, num_heads=2
    )
    model.head = nn.Linear(8, 10)
    run = ac.score(config(out=tmp_path / "run", contributions="exact"), model=model, splits=splits)
    assert set(run.manifest.measures) >= EVERY


def test_attention_with_dropout_gets_all_but_contributions(splits, tmp_path):
    run = ac.score(config(out=tmp_path / "run"), model=odd.Attention(dropout=0.1), splits=splits)
    assert EVERY - {"contribution"} <= set(run.manifest.measures)
    assert "(Dropout) draws at random" in Run.open(run.path).manifest.details["contribution"]["skipped"]
