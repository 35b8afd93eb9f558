"""Names of splits: every usual spelling is understood, and no two are merged without a word."""

import pytest

from attribution_core.datasets.split_names import split_of, splits_of_cells, splits_of_files, splits_of_folders
from attribution_core.errors import InputError


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train Train TRAIN training Training trn train_set trainset Training-Set train2017 01_train"),
        ("validation", "val valid validation dev development eval evaluation Val2017 validation_data valset DEV"),
        ("test", "test Test testing TESTING test_images testset TestData test1"),
        (None, "trains protest latest car trainval images set 1 traintest train_test training_wheels"),
    ],
)
def test_a_whole_name_means_a_split_in_every_usual_spelling(split: str | None, names: str) -> None:
    assert {name: split_of(name) for name in names.split()} == dict.fromkeys(names.split(), split)


def test_spaces_do_not_matter() -> None:
    assert split_of(" Training Set ") == "train"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00001", "train"),
        ("my_train", "train"),
        ("myTrain", "train"),
        ("sst2-dev", "validation"),
        ("X_test", "test"),
        ("data.training.v2", "train"),
        ("train_test_split", None),
        ("latest", None),
        ("readme", None),
    ],
)
def test_a_file_name_contains_the_name_of_its_split(name: str, split: str | None) -> None:
    assert splits_of_files([name], "data").get(name) == split


def test_shards_share_a_split() -> None:
    names = ["train-00000-of-00002", "train-00001-of-00002"]
    assert splits_of_files(names, "data") == dict.fromkeys(names, "train")


@pytest.mark.parametrize(
    ("names", "meaning"),
    [
        ("train eval", {"train": "train", "eval": "validation"}),
        ("train eval test", {"train": "train", "eval": "validation", "test": "test"}),
        ("train dev eval", {"train": "train", "dev": "validation", "eval": "test"}),
        ("train dev test", {"train": "train", "dev": "validation", "test": "test"}),
    ],
)
def test_eval_is_the_split_that_no_other_name_means(names: str, meaning: dict[str, str]) -> None:
    for splits in (splits_of_folders, splits_of_files, splits_of_cells):
        assert splits(names.split(), "data") == meaning


@pytest.mark.parametrize(
    "names", ["train val validation", "train dev eval test", "train training", "train test testing"]
)
def test_two_words_for_one_split_are_refused(names: str) -> None:
    for splits in (splits_of_folders, splits_of_files, splits_of_cells):
        with pytest.raises(InputError, match=r"^data must have one name for the \w+ split, but it has \w+ and \w+"):
            splits(names.split(), "data")


def test_two_folders_of_one_word_are_refused_and_two_cells_are_not() -> None:
    with pytest.raises(InputError, match="it has Train and train"):
        splits_of_folders(["Train", "train"], "data")
    assert splits_of_cells(["Train", "train", "train"], "the column split") == {"Train": "train", "train": "train"}


def test_a_cell_that_means_no_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"^The column split of a\.csv must hold train, .* but it holds 'fold 3'"):
        splits_of_cells(["train", "fold 3"], "the column split of a.csv")
