"""How far reviewers agree about the examples that they both decided about."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Agreement:
    """The agreement of two reviewers.

    Attributes:
        reviewers: Their names, in alphabetical order.
        examples: Number of examples that both decided about.
        equal: Share of these that both decided alike, relabels to the same label included.
        kappa: Cohen's kappa: 1 if they always agree, 0 if no more than by chance, given how often each decides what;
            NaN if chance alone would make them always agree.
    """

    reviewers: tuple[str, str]
    examples: int
    equal: float
    kappa: float


def agreements(decisions: pd.DataFrame) -> list[Agreement]:
    """Return the agreement of every two reviewers who decided about the same examples.

    Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20, 1960.

    Args:
        decisions: The latest decisions of every reviewer, from ``run.decisions.by_reviewer()``.
    """
    choices = _named(decisions).pivot(index=["split", "id"], columns="reviewer", values="choice")
    found = []
    for first, second in itertools.combinations(sorted(choices.columns), 2):
        both = choices[[first, second]].dropna()
        if both.empty:
            continue
        equal = float((both[first] == both[second]).mean())
        shares = [both[name].value_counts(normalize=True) for name in (first, second)]
        chance = float(shares[0].mul(shares[1], fill_value=0.0).sum())
        kappa = (equal - chance) / (1 - chance) if chance < 1 else float("nan")
        found.append(Agreement((first, second), len(both), equal, kappa))
    return found


def disputed(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return what reviewers decided about the examples that they decided differently about.

    Args:
        decisions: The latest decisions of every reviewer, from ``run.decisions.by_reviewer()``.

    Returns:
        Columns split, id, reviewer and choice (such as "drop" or "relabel 3").
    """
    named = _named(decisions)
    if named["reviewer"].nunique() < 2:
        return named.head(0)
    different = named.drop_duplicates(["split", "id", "choice"])
    keys = pd.MultiIndex.from_frame(different.loc[different.duplicated(["split", "id"]), ["split", "id"]])
    return named[pd.MultiIndex.from_frame(named[["split", "id"]]).isin(keys)]


def _named(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return the decisions of reviewers with a name: columns split, id, reviewer and choice."""
    named = decisions[decisions["reviewer"] != ""]
    label = named["new_label"].astype("str").where(named["action"] == "relabel", "")
    return named[["split", "id", "reviewer"]].assign(choice=(named["action"] + " " + label).str.strip())
