"""The curves about influence in the kernel regime: those that can be computed are, and the others say why not."""

import pytest
import torch

from attribution_core.methods.linearized.kernel_studies import estimate_error, marked_share_over_time
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.runs import Run, RunWriter, fingerprint
from attribution_core.scoring.score import score
from attribution_core.scoring.stages import kernel_curves
from attribution_core.scoring.stages.kernel_curves import decays_of, times_of, write_kernel_curves
from samplescope_app.panels import curves
from tests.cases import linear_case
from tests.support.kernel_models import kernel_model
from tests.support.scored import ONLY_INFORMATION, quick

SCHEDULE = GradientDescent(0.01, 50)


def written(path, linear, changed=None) -> Run:
    influence = linear.removal_effects(SCHEDULE).mean(dim=1)
    with RunWriter.start(path, {}, fingerprint({}), "curves") as writer:
        write_kernel_curves(writer, linear, SCHEDULE, influence, changed)
    return Run.open(path)


def test_outputs_with_features_of_their_own_have_every_curve_but_the_density(tmp_path):
    linear = linear_case("own", 20, 6, 3, 90).linear_model()
    changed = torch.arange(20) < 4
    run = written(tmp_path, linear, changed)
    assert set(run.curves["curve"]) == {"ihvp_error", "complexity_by_influence", "changed_among_influencers"}
    error = run.curves[run.curves["curve"] == "ihvp_error"]
    assert error["series"].unique().tolist() == ["error rate"]
    unit = float(linear.eigenvalues.sum()) / 20
    expected = estimate_error(linear, [unit * decay for decay in decays_of(3)]).rate
    assert error["y"].to_numpy() == pytest.approx(expected.numpy())
    assert "share their features" in run.manifest.details["ihvp_error"]["note"]
    leaders = run.curves.query("series == 'among the most influential'")["y"].to_numpy()
    assert leaders == pytest.approx(marked_share_over_time(linear, SCHEDULE, times_of(SCHEDULE, 3), changed).numpy())
    reason = run.manifest.details["ihvp_error_by_density"]["skipped"]
    assert "one feature row per example" in reason
    assert curves.why_missing(run, "ihvp_error_by_density") == reason
    assert curves.why_missing(run, "ihvp_error") == ""


def test_a_run_has_each_of_these_curves_or_the_reason_why_not(tmp_path):
    run = score(quick(tmp_path, parameters="all", max_train=40, **ONLY_INFORMATION))
    assert {"ihvp_error", "complexity_by_influence"} <= set(run.curves["curve"])
    assert len(run.curves.query("curve == 'ihvp_error'")) == len(decays_of(10))
    assert "one feature row per example" in curves.why_missing(run, "ihvp_error_by_density")
    assert "original_label" in curves.why_missing(run, "changed_among_influencers")


def test_the_bound_is_left_out_where_it_is_always_zero(tmp_path):
    run = written(tmp_path / "few", linear_case("few features", 30, 6, 1, 8).linear_model())
    assert run.curves.query("curve == 'ihvp_error'")["series"].unique().tolist() == ["error rate"]
    assert "zero here, since 30 examples have only 8 features" in run.manifest.details["ihvp_error"]["note"]
    assert "original_label" in run.manifest.details["changed_among_influencers"]["skipped"]
    many = written(tmp_path / "many", kernel_model()[-1])
    assert set(many.curves.query("curve == 'ihvp_error'")["series"]) == {"error rate", "lower bound"}
    assert "ihvp_error" not in many.manifest.details


def test_what_would_take_long_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_curves, "_LARGEST_REMOVAL", 100)
    monkeypatch.setattr(kernel_curves, "DENSITY_EXAMPLES", 10)
    run = written(tmp_path / "own", linear_case("own", 20, 6, 3, 90).linear_model())
    assert "6 rows of 60 features" in run.manifest.details["complexity_by_influence"]["skipped"]
    shared = written(tmp_path / "shared", linear_case("one output", 20, 6, 1, 90).linear_model())
    assert "up to 10, not for 20" in shared.manifest.details["ihvp_error_by_density"]["skipped"]
