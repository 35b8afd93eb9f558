"""Names of files: those of a run, and safe ones made from a dataset's texts."""

from __future__ import annotations

import re
import unicodedata

# The files of a run, as paths inside its directory.
MANIFEST_FILE = "run.json"
REMARKS_FILE = "remarks.json"  # what people write about it
LOCK_FILE = "lock"
DECISIONS_FILE = "decisions.sqlite"
APPLIED_DECISIONS_FILE = "decisions.csv"  # in a cleaned run: how its training set differs from the dataset
CURVES_FILE = "curves.parquet"
CLASS_EFFECTS_FILE = "class_effects.parquet"
CLASS_PAIRS_FILE = "class_pairs.parquet"
NEAR_DUPLICATES_FILE = "near_duplicates.parquet"
LEAKS_FILE = "leaks.parquet"
IMAGE_STATISTICS_FILE = "image_statistics.parquet"
RETRAINING_FILE = "retraining.parquet"
VERIFICATION_FILE = "verification.parquet"
RESPONSES_FILE = "responses.parquet"
CONTRIBUTIONS_FILE = "contributions.safetensors"  # their average over the trainings so far
SUMMARIZATION_FILE = "summarization.parquet"
INITIAL_WEIGHTS_FILE = "model/initial.safetensors"
FINAL_WEIGHTS_FILE = "model/final.safetensors"
TRAINING_STEPS_FILE = "trajectory/steps.safetensors"
LIVE_MODEL_FILE = "linearised/model.safetensors"
KEPT_INFLUENCE_FILE = "influence/any_damping.safetensors"
ENCODINGS_FILE = "vectors.safetensors"

# Of the folder that holds runs: those that were deleted.
TRASH_FOLDER = ".trash"

# Its folders.
EFFECTS_FOLDER = "effects"
EVOLUTION_FOLDER = "evolution"
DECISIONS_FOLDER = "decisions"  # in a reviewed run: one file for each set of decisions that it was retrained on
EXPORTS_FOLDER = "exports"

PARTIAL_SUFFIX = ".partial"
MATRIX_SUFFIX = ".zarr"

_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 150  # bytes; file systems allow 255, and a suffix follows


def table_file(name: str) -> str:
    """Return the file of a table: ``"examples"``, ``"evaluation"`` or ``"near_duplicates"``."""
    return f"{name}.parquet"


def effects_file(method: str) -> str:
    """Return the Zarr array that holds the effects of a method."""
    return f"{EFFECTS_FOLDER}/{method}{MATRIX_SUFFIX}"


def evolution_file(measure: str) -> str:
    """Return the Zarr array that holds a measure over training."""
    return f"{EVOLUTION_FOLDER}/{measure}{MATRIX_SUFFIX}"


def embeddings_file(split: str) -> str:
    """Return the file of the embeddings of ``"train"`` or ``"evaluation"``."""
    return f"embeddings/{split}.npy"


def thumbnail_files(split: str) -> tuple[str, str]:
    """Return the files of the thumbnails of ``"train"`` or ``"evaluation"``: the images, and their offsets."""
    return f"thumbnails/{split}.bin", f"thumbnails/{split}.npy"


def checkpoint_file(step: int) -> str:
    """Return the file of the training state after ``step`` steps."""
    return f"trajectory/step-{step:07d}.safetensors"


def safe_name(text: str) -> str:
    """Return ``text`` as one path component that no system reads as a path, drive, device or hidden file."""
    text = unicodedata.normalize("NFC", text)
    text = "".join("_" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text)
    text = _FORBIDDEN.sub("_", text)
    text = text.encode()[:_LONGEST].decode(errors="ignore").rstrip(". ")
    if not text or text.startswith(".") or _RESERVED.fullmatch(text):
        text = "_" + text.lstrip(".")
    return text


class UniqueNames:
    """Safe names that stay distinct on a file system that ignores case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, text: str, suffix: str = "") -> str:
        """Return a safe name for ``text`` that ends with ``suffix``, numbered when it is already taken."""
        stem = safe_name(text)
        name = stem + suffix
        while name.casefold() in self._taken:
            number = self._next.get(stem.casefold(), 2)
            self._next[stem.casefold()] = number + 1
            name = f"{stem}-{number}{suffix}"
        self._taken.add(name.casefold())
        return name
