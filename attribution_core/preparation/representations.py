"""Features of examples that no label has shaped: what label quality may judge labels by.

A network that was trained on the labels has seen them, so its features are not among these.
"""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attribution_core.datasets import as_tensors
from attribution_core.datasets.defaults import AUTO, MINILM
from attribution_core.datasets.features import text_features, tfidf_features
from attribution_core.errors import InputError
from attribution_core.methods.linearized.build import head_inputs
from attribution_core.methods.linearized.kernel_basis import Features
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models.pretrained import is_backbone
from attribution_core.preparation.prepare import Prepared
from attribution_core.progress import track
from attribution_core.runs.names import thumbnail_files
from attribution_core.runs.thumbnails import LONGEST_SIDE, Pack

# Pixels are compared at no more than this side: a kernel of pixels gains nothing from finer ones.
PIXEL_SIDE = 32


def representations(
    prepared: Prepared, tensors_by_split: dict[str, InputsAndTargets]
) -> dict[str, dict[str, Features]]:
    """Return kinds of features by name, each by split.

    Images have their pixels, and the features of a pretrained network that was not trained on these labels; texts
    their TF-IDF, and the vectors of the sentence encoder that was named or, if none was, of ``minilm`` where it is
    installed, which are made here; rows of a table their columns, with a constant one. All but the last have rows of
    length one.

    Args:
        prepared: The dataset and the model.
        tensors_by_split: Inputs and targets of each split, as the run's model takes them.
    """
    if prepared.splits.train.kind == "table" and prepared.vectors is not None:
        return {"columns": {name: _with_constant(rows) for name, rows in prepared.vectors.items()}}
    found: dict[str, dict[str, Features]] = {}
    if prepared.vectors is not None:
        try:
            found["TF-IDF"] = dict(tfidf_features(prepared.named_splits))
        except InputError:  # the texts share no words, which an encoder need not mind
            if not prepared.config.names_encoder:
                raise
        if prepared.config.names_encoder:
            found["the encoder's vectors"] = {name: _unit(rows) for name, rows in prepared.vectors.items()}
        elif prepared.config.encoder == AUTO:  # it is installed, and label quality decides
            vectors = text_features(prepared.named_splits, MINILM, str(prepared.device))
            found[f"vectors of {MINILM}"] = {name: _unit(rows) for name, rows in vectors.items()}
        return found
    found["pixels"] = _pixels(prepared)
    if is_backbone(prepared.source.name) and prepared.config.weights is None and prepared.config.training != "scratch":
        model = prepared.initial_model
        found[f"features of {prepared.model_name}"] = {
            name: _unit(head_inputs(model, inputs).cpu()) for name, (inputs, _) in tensors_by_split.items()
        }
    return found


def _pixels(prepared: Prepared) -> dict[str, Tensor]:
    """Return pixels in 0..1 at the model's size, or smaller, as rows of length one.

    Of images larger than their thumbnails these are those of the thumbnails, where the run has written them: a
    photograph takes many times as long to decode.
    """
    height, width = prepared.source.input_shape[1:]
    shrunk = min(1.0, PIXEL_SIDE / max(height, width))
    size = max(1, round(height * shrunk)), max(1, round(width * shrunk))
    splits, mode = prepared.named_splits, prepared.splits.train.mode
    if int(prepared.splits.train.sizes.max()) > LONGEST_SIDE and (thumbnails := _thumbnails(prepared)):
        return {name: _unit(_shrunk(*thumbnails[name], mode, size)) for name in splits}
    return {name: _unit(as_tensors(part, size=size, statistics=None)[0]) for name, part in splits.items()}


def _thumbnails(prepared: Prepared) -> dict[str, tuple[Pack, range]]:
    """Return the thumbnails of each split and the rows that it has among them; nothing where a run has not all."""
    train, validation, test = map(len, prepared.splits)
    if prepared.run is None or not all((prepared.run / name).is_file() for name in thumbnail_files("evaluation")):
        return {}
    own, held_out = Pack(prepared.run, "train"), Pack(prepared.run, "evaluation")
    if (len(own), len(held_out)) != (train, validation + test):
        return {}
    return {
        "train": (own, range(train)),
        "validation": (held_out, range(validation)),
        "test": (held_out, range(validation, validation + test)),
    }


def _shrunk(thumbnails: Pack, rows: range, mode: str, size: tuple[int, int]) -> Tensor:
    """Return some thumbnails in 0..1, float32 ``[n, h, w, c]``."""
    height, width = size
    pixels = torch.empty(len(rows), height, width, len(mode), dtype=torch.uint8)
    for place, row in enumerate(track(rows, len(rows), "reading thumbnails")):
        small = Image.open(io.BytesIO(thumbnails[row][0])).convert(mode)
        small = small.resize((width, height), Image.Resampling.BILINEAR)
        pixels[place] = torch.from_numpy(np.array(small).reshape(height, width, -1))
    return pixels.float() / 255


def _unit(rows: Tensor) -> Tensor:
    rows = rows.flatten(1).float()
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)


def _with_constant(rows: Tensor) -> Tensor:
    rows = rows.flatten(1).float()
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
