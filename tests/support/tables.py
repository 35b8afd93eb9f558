"""Small tables of rows and of texts, as data frames and as files."""

from pathlib import Path

import numpy as np
import pandas as pd

SENTENCES = {"good": "a warm and clever film", "bad": "a dull and tired film"}
TARGET = "price"


def make_table(n: int = 40) -> pd.DataFrame:
    """Return rows of two classes, with two columns of numbers and one of words."""
    rng = np.random.default_rng(0)
    label = np.arange(n) % 2
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, n) + 20 * label,
            "rooms": rng.integers(1, 9, n),
            "city": np.array(["Ulm", "Köln", "Bonn"])[rng.integers(0, 3, n)],
            "label": np.array(["low", "high"])[label],
        }
    )


def make_texts(n: int = 40) -> pd.DataFrame:
    """Return sentences of two classes."""
    label = np.array(["good", "bad"])[np.arange(n) % 2]
    return pd.DataFrame(
        {"text": [f"{SENTENCES[each]} {i}" for i, each in enumerate(label)], "label": label, "source": "web"}
    )


def make_prices(n: int = 60, wrong: int = 4) -> pd.DataFrame:
    """Return rows with a price; that of the first ``wrong`` rows is three times what it should be."""
    rng = np.random.default_rng(0)
    size, age = rng.uniform(20, 120, n), rng.integers(0, 60, n)
    true = np.round(2.5 * size - age + rng.normal(0, 4, n) + 80, 2)
    given = np.where(np.arange(n) < wrong, 3 * true, true)
    return pd.DataFrame({"size": size.round(1), "age": age, TARGET: given, "original_label": true})


def write_table(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame in the format that the suffix of ``path`` names."""
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path
