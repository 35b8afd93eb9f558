"""Agreement of reviewers, against values computed by hand."""

import math

import pytest

from attribution_core.runs.agreement import agreements


def test_nobody_decided_the_same(log):
    assert agreements(log.by_reviewer()) == []
    log.record(["a"], "drop", reviewer="ann")
    log.record(["b"], "drop", reviewer="ben")
    log.record(["a"], "keep")  # by nobody by name
    assert agreements(log.by_reviewer()) == []


def test_share_and_kappa(log):
    for example, first, second in (("a", "drop", "drop"), ("b", "drop", "keep"), ("c", "keep", "keep")):
        log.record([example], "relabel", 1, reviewer="ann")  # changed later
        log.record([example], first, reviewer="ann")
        log.record([example], second, reviewer="ben")
    log.record(["d"], "relabel", 1, reviewer="ann")
    log.record(["d"], "relabel", 2, reviewer="ben")  # another label is no agreement
    (found,) = agreements(log.by_reviewer())
    assert found.reviewers == ("ann", "ben")
    assert (found.examples, found.equal) == (4, 0.5)
    chance = 0.5 * 0.25 + 0.25 * 0.5  # drop, keep; neither relabel is shared
    assert found.kappa == pytest.approx((0.5 - chance) / (1 - chance))


def test_kappa_is_undefined_where_chance_alone_would_agree(log):
    log.record(["a"], "drop", split="test", reviewer="ann")
    log.record(["a"], "drop", split="test", reviewer="ben")
    log.record(["a"], "keep", split="train", reviewer="ben")
    (found,) = agreements(log.by_reviewer())
    assert (found.examples, found.equal) == (1, 1.0)
    assert math.isnan(found.kappa)
