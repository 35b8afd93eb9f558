"""Images in the rows of Arrow tables, as Parquet files and saved Hugging Face datasets hold them.

A table has a column of images: structs {bytes, path} as the Hugging Face library writes them, encoded images as plain
bytes, or paths of files beside the table. A label column holds strings, integers, true and false, or other numbers
(values). Every other column of plain values becomes a group column.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from attribution_core.datasets.decoding import load
from attribution_core.datasets.file_kinds import SUFFIXES
from attribution_core.datasets.formats.arrow_rows import ArrowRows, Part, feature_kind, join_parts
from attribution_core.datasets.formats.arrow_types import is_bytes, is_text, plain, stored_type
from attribution_core.datasets.formats.manifest import PATHS
from attribution_core.datasets.formats.row_files import find_column
from attribution_core.datasets.images import EncodedImage, FileImage, ImageSource
from attribution_core.datasets.listing import Examples, Listing, Unreadable, normalize_name
from attribution_core.datasets.targets import Task, original_values, parse_labels, parse_numeric_labels
from attribution_core.errors import InputError

IMAGES = ("image", "img", "picture", "photo", "pixel_values", "jpg", "jpeg", "png", "webp")


def image_columns(part: Part) -> list[str]:
    """Return the columns of a table that hold images, or paths of images if none does; read from its first rows."""
    head = part.table.slice(0, 20)
    found = [each.name for each in head.schema if _holds_images(head, part.features, each)]
    if found:
        return found
    paths = find_column([each.name for each in head.schema if is_text(each.type)], PATHS)
    return [paths] if paths is not None and _names_images(head[paths]) else []


def list_images(parts: list[Part], target: str | None = None, task: Task = "auto") -> Listing:
    """List the rows of tables of images.

    Args:
        parts: The rows by file.
        target: Target column; by default one called label, or the only one of class labels.
        task: Whether the labels are classes or values; ``"auto"`` decides from the labels.

    Returns:
        The rows by split; images whose files are missing are skipped and listed.

    Raises:
        InputError: A column is missing, or a label or an id cannot be understood.
    """
    candidates = list(dict.fromkeys(name for part in parts for name in image_columns(part)))
    image, others = _image_column(candidates, parts)
    rows = join_parts([_without(part, others) for part in parts], target, [image])
    labels, class_names, notes = _labels(rows, task)
    sources, paths = _sources(rows, image)
    groups = _groups(rows, image)
    if not class_names and "original_label" in groups:
        groups["original_label"] = original_values(groups["original_label"])
    ids = _ids(rows, paths)
    missing = [Unreadable(id_, source) for id_, source in zip(ids, sources, strict=True) if isinstance(source, str)]
    _refuse_all_missing(missing, rows, image, len(ids))
    images = [EncodedImage(b"") if isinstance(source, str) else source for source in sources]
    whole = Examples(ids, images, labels, groups, rows.rows)
    there = np.array([not isinstance(source, str) for source in sources], dtype=bool)
    aside = [f"Images are read from the column {image}; {', '.join(others)} was left aside."] if others else []
    listing = whole.take(np.flatnonzero(there)).by_split(rows.splits[there])
    what = f"images of the column {image} with the labels of the column {rows.label}"
    return Listing(
        listing,
        class_names,
        missing,
        aside + rows.notes + notes,
        target=rows.label,
        what=what,
        split_names=rows.split_names,
    )


# -- columns ---------------------------------------------------------------------------------------------------------


def _holds_images(head: pa.Table, features: dict[str, Any], each: pa.Field) -> bool:
    stated, name = feature_kind(features, each.name), each.name.strip().lower()
    kind = stored_type(each.type)
    if stated == "Image":
        return pa.types.is_struct(kind) or is_bytes(kind) or is_text(kind)
    if pa.types.is_struct(kind):
        data = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else None
        only_paths = data is not None and pa.types.is_null(data) and kind.get_field_index("path") >= 0
        return stated is None and data is not None and (is_bytes(data) or only_paths)
    if is_bytes(kind):
        return name in IMAGES or _is_image(head[each.name])
    # Pixels as lists, and numbers called image, are refused: a table without them would be another dataset.
    return (pa.types.is_nested(kind) and name in IMAGES) or (name == IMAGES[0] and not is_text(kind))


def _is_image(column: pa.ChunkedArray) -> bool:
    """Return whether the first bytes of a column are an image."""
    first = next((value for value in plain(column).to_pylist() if value), None)
    if first is None:
        return False
    try:
        load(first)
    except Exception:  # noqa: BLE001 -- Pillow raises almost any type; what it cannot decode is no image
        return False
    return True


def _names_images(column: pa.ChunkedArray) -> bool:
    """Return whether the texts of a column are names of images."""
    named = [value for value in plain(column).to_pylist() if value]
    return bool(named) and all(Path(value).suffix.lower() in SUFFIXES for value in named)


def _image_column(candidates: list[str], parts: list[Part]) -> tuple[str, list[str]]:
    """Return the column of images: the only one, or the one with the usual name; and the others."""
    usual = find_column(candidates, IMAGES)
    if usual is None and len(candidates) == 1:
        usual = candidates[0]
    if usual is not None:
        return usual, [name for name in candidates if name != usual]
    if candidates:
        raise InputError(
            f"The data need one column of images, but {' and '.join(candidates)} hold images: rename the one to score "
            "to image."
        )
    columns = ", ".join(parts[0].table.column_names)
    raise InputError(f"The data need a column of images, but the columns are {columns}: rename one of them to image.")


def _without(part: Part, columns: list[str]) -> Part:
    table = part.table.drop_columns([name for name in columns if name in part.table.column_names])
    return replace(part, table=table, stated=part.features)


def _labels(rows: ArrowRows, task: Task) -> tuple[np.ndarray, list[str], list[str]]:
    """Parse the target column. Returns what :func:`parse_labels` does."""
    cells, name, names = rows.table[rows.label], rows.label, rows.class_names.get(rows.label)
    types = pa.types
    if not (is_text(cells.type) or types.is_boolean(cells.type)):
        if not (types.is_integer(cells.type) or types.is_floating(cells.type)):
            raise InputError(f"The column {name} must hold numbers or strings, but it holds {cells.type}: convert it.")
        return parse_numeric_labels(cells.to_pandas(), name, None, task)
    labels, found, notes = parse_labels(cells.to_pandas(), name, task)
    if not found or names is None:
        return labels, found, notes
    position = {each: i for i, each in enumerate(names)}
    return np.array([position[each] for each in found], dtype=np.int64)[labels], names, notes


def _groups(rows: ArrowRows, image: str) -> pd.DataFrame:
    others = [name for name in rows.table.column_names if name not in (image, rows.label, "split", "id")]
    return rows.table.select(others).to_pandas(ignore_metadata=True)


def _ids(rows: ArrowRows, paths: list[str | None]) -> list[str]:
    """Return the ids of the rows, or the images' file names if there is no column of ids and they are unique."""
    named = [normalize_name(path) for path in paths if path]
    unique = len(named) == len(paths) and len(set(named)) == len(named)
    return named if unique and "id" not in rows.table.column_names else rows.ids


# -- images ----------------------------------------------------------------------------------------------------------


def _sources(rows: ArrowRows, name: str) -> tuple[list[ImageSource | str], list[str | None]]:
    """Return the image of each row, or the reason why there is none; and the names of their original files."""
    column = plain(rows.table[name])
    if is_bytes(column.type):
        return [EncodedImage(value or b"") for value in column.to_pylist()], [None] * len(column)
    if is_text(column.type):
        paths, data = column.to_pylist(), [None] * len(column)
    elif pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        data = pc.struct_field(column, "bytes").to_pylist()
        has_path = column.type.get_field_index("path") >= 0
        paths = pc.struct_field(column, "path").to_pylist() if has_path else [None] * len(column)
    else:
        raise InputError(
            f"The column {name} must hold encoded images (PNG, JPEG, ...) as bytes or a struct {{bytes, path}}, but it "
            f"holds {column.type}: encode them."
        )
    sources: list[ImageSource | str] = [
        EncodedImage(value or b"")
        if value is not None or not path
        else _file(path, rows.folders[part], rows.roots[part])
        for value, path, part in zip(data, paths, rows.parts, strict=True)
    ]
    return sources, paths


def _file(path: str, folder: Path | None, root: Path | None) -> ImageSource | str:
    """Return the image at a path that is relative to the table or to the dataset, or the reason why there is none."""
    if folder is None or root is None:
        return f"its file {path} is not in the dataset"
    inside = root.resolve()
    for start in (folder, root):
        try:
            file = (start / path).resolve()
            if not file.is_relative_to(inside):
                return f"its file {path} is outside the dataset's folder"
            if file.is_file():
                return FileImage(file)
        except (OSError, ValueError, RuntimeError) as error:  # a link to itself, a null byte
            return f"its file {path!r} cannot be read ({error})"
    return f"its file {path} is missing"


def _refuse_all_missing(missing: list[Unreadable], rows: ArrowRows, image: str, total: int) -> None:
    if missing and len(missing) == total:
        root = rows.roots[int(rows.parts[0])]
        raise InputError(
            f"The column {image} holds paths of images without the images, and none of the {total:,} can be read; of "
            f"the first, {missing[0].why}: put the images into {root if root else 'the dataset'}, or write their bytes "
            "into the data."
        )
