"""A run over random images, some of which are dark, blurred or copies of others."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter, ImageOps

from attribution_core.datasets import open_dataset
from tests.support.sample_run import NAMES, write_run

TRAIN, HELD_OUT = 400, 100  # half of the latter are for validation, every other one
DARK, BLURRED, TWINS, LEAKED, WIDE = 11, 23, (40, 41), 57, 80  # training rows
LEAK = 3  # evaluation row of the copy of LEAKED


def make_images_run(path: Path, planted: bool = True) -> Path:
    """Write a run over random images, and its data beside it; if planted, with the issues at the rows above."""
    rng = np.random.default_rng(0)
    images = [_random_image(rng) for _ in range(TRAIN + HELD_OUT)]
    if planted:
        images[DARK] = images[DARK].point(lambda level: level // 40)
        images[BLURRED] = ImageOps.autocontrast(images[BLURRED].filter(ImageFilter.GaussianBlur(2)))
        images[TWINS[1]] = images[TWINS[0]]
        images[WIDE] = Image.fromarray(np.tile(np.asarray(images[WIDE]), (1, 6)))
        images[TRAIN + LEAK] = images[LEAKED]
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.with_name(f"{path.name}.parquet")
    labels = rng.integers(0, 10, len(images))
    table = pa.table(
        {
            "image": [{"bytes": _png(image), "path": f"{i}.png"} for i, image in enumerate(images)],
            "label": labels,
            "original_label": labels,
            "split": ["train"] * TRAIN + ["validation"] * (HELD_OUT // 2) + ["test"] * (HELD_OUT // 2),
            "id": [f"image-{i:03d}" for i in range(len(images))],
        }
    )
    label = {"names": NAMES, "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": label, "original_label": label}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), data)
    return write_run(path, open_dataset(data), {"data": str(data), "model": "lenet5"}, evidence=False)


def _random_image(rng: np.random.Generator) -> Image.Image:
    """Return gray noise of a random brightness and contrast, somewhat smooth as photographs are."""
    noise = rng.normal(rng.uniform(100, 156), rng.uniform(40, 60), (24, 24)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.5)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
