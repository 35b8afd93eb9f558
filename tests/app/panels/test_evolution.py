from samplescope_app.panels import evolution


def test_both_parts_of_the_regularization_stand_by_the_estimate():
    assert evolution._delta_text({"delta": 25.9, "delta_of_objective": 1.0}) == (
        "Regularization (delta): 25.9, which is 1 from the weight decay and 24.9 from the training time: early "
        "stopping acts like weight decay."
    )
    assert evolution._delta_text({"delta": 1.0, "delta_of_objective": 1.0}) == "Regularization (delta): 1."
    assert evolution._delta_text({"delta": 1.0}) == ""  # of a run before both were written
