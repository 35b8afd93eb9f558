"""The training examples of a run with their percentiles and decisions."""

import numpy as np
import pytest

from samplescope_app.data import session


def test_percentiles_say_how_many_score_this_or_less(run):
    frame = session.examples(run)
    assert frame["fsi percentile"].max() == 100
    middle = frame.iloc[10]
    assert middle["fsi percentile"] == pytest.approx((frame["fsi"] <= middle["fsi"]).mean() * 100)


def test_a_decision_copies_no_other_column(run):
    before, both = session.examples(run), session.everything(run)
    train, held_out = str(run.examples["id"][3]), str(run.evaluation["id"][2])
    run.decisions.record([train], "relabel", 4, reviewer="ann")
    run.decisions.record([held_out], "drop", split=run.evaluation["split"][2])
    after, all_after = session.examples(run), session.everything(run)
    for frame, earlier in ((after, before), (all_after, both)):
        for column in ("fsi", "label", "fsi percentile"):
            assert np.shares_memory(frame[column].to_numpy(), earlier[column].to_numpy()), column
        assert (earlier["action"] == "").all()
        assert frame.loc[3, ["action", "new_label_name", "reviewer"]].tolist() == ["relabel", run.class_names[4], "ann"]
        others = frame.drop(index=3)["new_label_name"].to_numpy()
        assert (others == frame.drop(index=3)["label_name"].to_numpy()).all()
    assert all_after.loc[len(after) + 2, "action"] == session.evaluation(run).loc[2, "action"] == "drop"
