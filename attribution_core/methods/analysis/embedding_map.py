"""A map of examples: embeddings in two dimensions, by UMAP, alike ones side by side.

McInnes, Healy and Melville 2018, "UMAP: uniform manifold approximation and projection for dimension reduction".
"""

import importlib.util
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg.blocked import blocks
from attribution_core.progress import report, track

if TYPE_CHECKING:
    from umap import UMAP

# UMAP's own defaults for how far an example looks, itself included, and how near two may lie on the map.
NEIGHBOURS = 15
MIN_DIST = 0.1
# On 4,000 embeddings of clothes, 100, 200 and 500 epochs kept 15 neighbours equally well (trustworthiness 0.985, 0.986
# and 0.986).
EPOCHS = 200
# So many examples are laid out together; the others go where their neighbours among these are.
MOST = 50_000
FEWEST = 4


def is_compiled() -> bool:
    """Whether what UMAP's search compiles was kept by an earlier process; else the first map takes 15 seconds more."""
    library = importlib.util.find_spec("pynndescent")
    own = Path(library.origin).parent / "__pycache__" if library and library.origin else Path()
    kept = Path(os.environ.get("NUMBA_CACHE_DIR") or own)
    return any(kept.glob("**/distances.*.nbi"))


def embedding_map(
    embeddings: Tensor,
    seed: int = 0,
    most: int = MOST,
) -> np.ndarray:
    """Places of examples on a map, the same for the same seed.

    Neighbours are found exactly, by cosine, as near-duplicates are: on 4,000 embeddings of clothes the map then kept
    neighbours better (trustworthiness 0.986 by cosine and 0.980 by Euclidean distance) than one of Euclidean distances
    (0.983 and 0.981). That takes ``n^2 d`` multiplications, and the layout a time like n: on one core 4 seconds for
    4,000 examples of 1,024 dimensions, 13 for 20,000 of 256 and about a minute for 50,000, with some ten seconds more
    for importing and compiling UMAP, once a process; 1.2 GiB at most. More than ``most`` examples are not laid out
    together: a random choice of so many is, and each other one is put at the mean of its neighbours among these,
    weighted by nearness.

    Args:
        embeddings: Such as the inputs of a trained network's last layer, ``[n, d]``, on any device.
        seed: Of the layout, and of the choice.
        most: How many to lay out together.

    Returns:
        ``[n, 2]``, float32, in no unit.

    Raises:
        InputError: Fewer than four examples, or embeddings that are not ``[n, d]`` or not finite.
    """
    n = len(embeddings)
    if embeddings.ndim != 2 or n < FEWEST or not bool(embeddings.isfinite().all()):
        raise InputError(
            f"A map takes finite embeddings [n, d] of {FEWEST} examples or more; given are {list(embeddings.shape)}, "
            f"{int((~embeddings.isfinite()).sum())} numbers of which are not finite."
        )
    unit = torch.nn.functional.normalize(embeddings.detach().float(), dim=1)
    if n <= most:
        return _layout(unit, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    fitted, rest = (part.sort().values.to(unit.device) for part in (order[:most], order[most:]))
    places = np.empty((n, 2), dtype=np.float32)
    places[fitted.cpu()] = _layout(unit[fitted], seed)
    indices, distances = _neighbours(unit[rest], unit[fitted], NEIGHBOURS)
    nearer = distances - distances[:, :1]
    weights = np.exp(-nearer / np.maximum(nearer.mean(axis=1, keepdims=True), np.finfo(np.float32).tiny))
    weights /= weights.sum(axis=1, keepdims=True)
    places[rest.cpu()] = (weights[:, :, None] * places[fitted.cpu()][indices]).sum(axis=1)
    return places


def _layout(
    unit: Tensor,
    seed: int,
) -> np.ndarray:
    """UMAP of unit vectors ``[n, d]``: ``[n, 2]``."""
    n = len(unit)
    k = min(NEIGHBOURS, n - 1)
    knn = _neighbours(unit, unit, k, among_themselves=True)
    what = "laying out the map"
    report(0, EPOCHS, what)  # the first use compiles for seconds
    umap = _umap(
        n_neighbors=k,
        min_dist=MIN_DIST,
        n_epochs=EPOCHS,
        metric="cosine",
        precomputed_knn=knn,
        force_approximation_algorithm=True,  # or else it would look for neighbours itself where there are few examples
        init="spectral" if n > NEIGHBOURS else "random",  # few examples have too few eigenvectors
        random_state=seed,
        n_jobs=1,  # what a seed forces anyway, with a warning
        tqdm_kwds={"disable": False, "file": _Epochs(what), "bar_format": "{n_fmt}/{total_fmt}"},
    )
    with warnings.catch_warnings():
        # Without a search index it can't place new examples, which is not asked of it.
        warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]")
        return umap.fit_transform(unit.cpu().numpy())


def _neighbours(unit: Tensor, others: Tensor, k: int, among_themselves: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of ``others`` by cosine distance, nearest first: indices and distances, ``[n, k]`` each.

    Among themselves, each is its own first neighbour, which is how UMAP counts.
    """
    indices, distances = [], []
    parts = list(blocks(len(unit), 3 * unit.element_size() * len(others)))
    for rows in track(parts, len(parts), "looking for neighbours on the map"):
        similarity = unit[rows] @ others.T
        if among_themselves:
            similarity.diagonal(rows.start).fill_(2)
        values, nearest = similarity.topk(k, dim=1)
        indices.append(nearest.cpu())
        distances.append((1 - values).clamp(min=0).cpu())
    return torch.cat(indices).numpy().astype(np.int32), torch.cat(distances).numpy()


def _umap(**options: object) -> "UMAP":
    """UMAP, whose import takes seconds."""
    from umap import UMAP

    return UMAP(**options)


class _Epochs:
    """A file that tqdm draws its bar of epochs to, as "12/200"; reports them as progress."""

    def __init__(
        self,
        what: str,
    ) -> None:
        self._what = what

    def write(self, text: str) -> None:
        done, _, total = text.strip().partition("/")
        if done.isdigit() and total.isdigit():
            report(int(done), int(total), self._what)

    def flush(self) -> None:
        """Nothing is held back."""
