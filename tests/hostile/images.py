"""Folders, Parquet, IDX and NumPy files of images that cannot be scored."""

import gzip
import io
import json
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.hostile.case import Case, score
from tests.support.builders import encoded, write_folder, write_idx, write_parquet

LABELS = [0, 1] * 10


def _folder_of(data: bytes, suffix: str = ".png") -> Case.Make:
    """Return a maker of two classes of files with the same contents."""

    def make(path: Path) -> list[str]:
        for name in ("cat", "dog"):
            (path / "d" / name).mkdir(parents=True)
            for number in range(6):
                (path / "d" / name / f"{number}{suffix}").write_bytes(data)
        return score(path / "d")

    return make


def _bomb(side: int) -> bytes:
    """Return a PNG of a few bytes whose header states ``side`` times ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def _saved(image: Image.Image, form: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def _counts(**counts: int) -> Case.Make:
    return lambda path: score(write_folder(path / "d", {name.replace("__", "/"): n for name, n in counts.items()}))


def _file(name: str, data: bytes) -> Case.Make:
    def make(path: Path) -> list[str]:
        (path / name).write_bytes(data)
        return score(path / name)

    return make


def _parquet(labels: list, *options: str, **columns) -> Case.Make:
    return lambda path: score(write_parquet(path / "d.parquet", labels, **columns), *options)


def _empty_folder(path: Path) -> list[str]:
    (path / "d").mkdir()
    return score(path / "d")


def _empty_classes(path: Path) -> list[str]:
    for name in ("cat", "dog"):
        (path / "d" / name).mkdir(parents=True)
    return score(path / "d")


def _hidden_files(path: Path) -> list[str]:
    write_folder(path / "d", {"cat": 3, "dog": 3})
    for file in (path / "d").rglob("*.png"):
        file.rename(file.with_name(f".{file.name}"))
    return score(path / "d")


def _loops(path: Path) -> list[str]:
    for name in ("cat", "dog"):
        (path / "d" / name).mkdir(parents=True)
        (path / "d" / name / "again").symlink_to(path / "d")
        (path / "d" / name / "self.png").symlink_to(path / "d" / name / "self.png")
    return score(path / "d")


def _link_to_itself(path: Path) -> list[str]:
    (path / "d").symlink_to(path / "d")
    return score(path / "d")


def _links_out(path: Path) -> list[str]:
    write_folder(path / "elsewhere", {"cat": 3, "dog": 3})
    for name in ("cat", "dog"):
        (path / "d" / name).mkdir(parents=True)
        for file in (path / "elsewhere" / name).iterdir():
            (path / "d" / name / file.name).symlink_to(file)
    return score(path / "d")


def _pipes(path: Path) -> list[str]:
    for name in ("cat", "dog"):
        (path / "d" / name).mkdir(parents=True)
        for number in range(3):
            os.mkfifo(path / "d" / name / f"{number}.png")
    return score(path / "d")


def _folders_called_images(path: Path) -> list[str]:
    for name in ("cat", "dog"):
        (path / "d" / name / "0.png").mkdir(parents=True)
    return score(path / "d")


def _pipe(path: Path) -> list[str]:
    os.mkfifo(path / "pipe")
    return score(path / "pipe")


def _truncated_parquet(path: Path) -> list[str]:
    file = write_parquet(path / "d.parquet", LABELS)
    file.write_bytes(file.read_bytes()[:-40])
    return score(file)


def _wrong_metadata(path: Path) -> list[str]:
    file = write_parquet(path / "d.parquet", LABELS)
    pq.write_table(pq.read_table(file).replace_schema_metadata({"huggingface": "[]"}), file)
    return score(file)


def _columns(**columns: list) -> Case.Make:
    def make(path: Path) -> list[str]:
        pq.write_table(pa.table(columns), path / "d.parquet")
        return score(path / "d.parquet")

    return make


def _idx(images: np.ndarray, labels: np.ndarray, spoil=None) -> Case.Make:
    def make(path: Path) -> list[str]:
        write_idx(path / "d" / "train-images-idx3-ubyte.gz", images)
        write_idx(path / "d" / "train-labels-idx1-ubyte.gz", labels)
        if spoil is not None:
            spoil(path / "d")
        return score(path / "d")

    return make


def _cut_gzip(folder: Path) -> None:
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-30])


def _not_gzip(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip at all")


def _wrong_magic(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x0d\3" + b"\0" * 40))


def _without_labels(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").unlink()


def _npz(*options: str, **arrays) -> Case.Make:
    def make(path: Path) -> list[str]:
        np.savez(path / "d.npz", **arrays)
        return score(path / "d.npz", *options)

    return make


def _manifest(text: str, suffix: str = ".csv", *options: str) -> Case.Make:
    def make(path: Path) -> list[str]:
        write_folder(path, {"pictures": 8})
        (path / f"d{suffix}").write_text(text)
        return score(path / f"d{suffix}", *options)

    return make


_IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
_FLOATS = _IMAGES / 255
_CLASSES = np.arange(20) % 2
_VALUES = np.linspace(0, 1, 20)
_VALUED = "".join(f"pictures/{i}.png,{i / 8}\n" for i in range(8))
_AS_VALUES, _AS_CLASSES = ("--task", "regression"), ("--task", "classification")
_ROWS = "".join(f"pictures/{i}.png,{'ab'[i % 2]}\n" for i in range(8))


def _filled(value: float) -> Image.Image:
    return Image.fromarray(np.full((8, 8), value, dtype=np.float32))


CASES = [
    Case("images cut short", _folder_of(encoded(0)[:60]), "none can be read"),
    Case("images of no bytes", _folder_of(b""), "it is empty (zero bytes)"),
    Case("bombs of 2,500 megapixels", _folder_of(_bomb(50_000)), "none can be read"),
    Case("bombs just below Pillow's limit", _folder_of(_bomb(13_000)), "none can be read"),
    Case("text called png", _folder_of(b"hello"), "it is not an image in a known format"),
    Case("HTML called jpg", _folder_of(b"<html><script>alert(1)</script>", ".jpg"), "not an image in a known format"),
    Case("SVG called png", _folder_of(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), "not an image in a known format"),
    Case("EPS called png", _folder_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image in a known"),
    Case("a pickle called png", _folder_of(b"\x80\x04cos\nsystem\n(S'true'\ntR."), "not an image in a known format"),
    Case("pixels that are no number", _folder_of(_saved(_filled(np.nan), "TIFF"), ".tif"), "is not a finite number"),
    Case("infinite pixels of a TIFF", _folder_of(_saved(_filled(-np.inf), "TIFF"), ".tif"), "is not a finite number"),
    Case("one class only", _counts(cat=8), "must have at least two classes"),
    Case("one class in train", _counts(train__cat=8, test__cat=4), "must have at least two classes"),
    Case("an image a class", _counts(cat=1, dog=1), "enough examples to set one aside"),
    Case("only a test split", _counts(test__cat=4, test__dog=4), "needs a train split"),
    Case("an empty folder", _empty_folder, "No dataset was found"),
    Case("empty class folders", _empty_classes, "none were found"),
    Case("hidden files only", _hidden_files, "none were found"),
    Case("folders that link to themselves", _loops, "none were found"),
    Case("a dataset that links to itself", _link_to_itself, "cannot be read"),
    Case("links that lead out", _links_out, "none were found"),
    Case("pipes called png", _pipes, "none were found"),
    Case("folders called png", _folders_called_images, "none were found"),
    Case("a pipe as dataset", _pipe, "neither a file nor a folder"),
    Case("a device as dataset", lambda _: score("/dev/null"), "neither a file nor a folder"),
    Case("nothing there", lambda path: score(path / "nowhere"), "There is no file or folder"),
    Case("an empty path", lambda _: score(""), "No dataset was found"),
    Case("a path with a null byte", lambda _: score("a\0b"), "cannot be read"),
    Case("a very long path", lambda _: score("x" * 5000), "cannot be read"),
    Case("a user that is not there", lambda _: score("~nobody-here/data"), "cannot be read"),
    Case("an address", lambda _: score("https://example.org/data.zip"), "There is no file or folder"),
    Case("an unknown kind of file", _file("d.xyz", b"hello"), "No dataset was found"),
    Case("Parquet of no bytes", _file("d.parquet", b""), "cannot be read"),
    Case("text called parquet", _file("d.parquet", b"PAR1 but not really PAR1"), "cannot be read"),
    Case("Parquet cut short", _truncated_parquet, "cannot be read"),
    Case("Parquet without rows", _parquet(np.array([], dtype=np.int64)), "has no examples"),
    Case("labels below zero", _parquet([-1, *LABELS[1:]]), "Labels must be 0 or more"),
    Case("labels without a name", _parquet([7, *LABELS[1:]], names=["cat", "dog"]), "Labels must be 0 to 1"),
    Case("fractions beside names", _parquet([0.5, *LABELS[1:]], names=["a", "b"]), "must hold integers or strings"),
    Case("fractions as classes in Parquet", _parquet(_VALUES, *_AS_CLASSES), "such as 0: choose another column"),
    Case("names as values in Parquet", _parquet(LABELS, *_AS_VALUES, names=["cat", "dog"]), "row 0 holds 'cat'"),
    Case("labels that are all missing in Parquet", _parquet([None] * 20), "all 20 are empty or -1"),
    Case("a value that is infinite in Parquet", _parquet([np.inf, *_VALUES[1:]]), "row 0 is not"),
    Case("lists as labels", _parquet([[1]] * 20), "must hold numbers or strings"),
    Case("one id twice", _parquet(LABELS, id=["a"] * 20), "are called a"),
    Case("an unknown split", _parquet(LABELS, split=["holdout"] * 20), "it holds 'holdout'"),
    Case("images of nulls", _parquet(LABELS, images=[None] * 20), "it is empty (zero bytes)"),
    Case("images of numbers", _columns(image=list(range(20)), label=LABELS), "must hold encoded images"),
    Case("metadata that is no metadata", _wrong_metadata, "schema metadata of d.parquet must be JSON"),
    Case("images without labels", _columns(image=[b"x"] * 20, name=["a"] * 20), "need a column called label"),
    Case("gzip cut short", _idx(_IMAGES, _CLASSES, _cut_gzip), "train-images"),
    Case("gzip that is none", _idx(_IMAGES, _CLASSES, _not_gzip), "train-images"),
    Case("IDX of another type", _idx(_IMAGES, _CLASSES, _wrong_magic), "train-images"),
    Case("more images than labels", _idx(_IMAGES, _CLASSES[:7]), "20"),
    Case("IDX without labels", _idx(_IMAGES, _CLASSES, _without_labels), "labels"),
    Case("IDX of flat images", _idx(_IMAGES.reshape(20, 64), _CLASSES), "train-images"),
    Case("pickled objects in npz", _npz(x=np.array([{}] * 20, dtype=object), y=_CLASSES), "d.npz"),
    Case("NaN pixels", _npz(x=np.where(_FLOATS > 0.5, np.nan, _FLOATS), y=_CLASSES), "NaN"),
    Case("infinite pixels", _npz(x=np.where(_FLOATS > 0.5, np.inf, _FLOATS), y=_CLASSES), "d.npz"),
    Case("pixels of no agreed range", _npz(x=_FLOATS * 1e6, y=_CLASSES), "d.npz"),
    Case("five channels", _npz(x=np.zeros((20, 8, 8, 5), dtype=np.uint8), y=_CLASSES), "d.npz"),
    Case("arrays of other lengths", _npz(x=_IMAGES, y=_CLASSES[:3]), "d.npz"),
    Case("negative labels in npz", _npz(x=_IMAGES, y=_CLASSES - 1), "d.npz"),
    Case("fractions as classes in npz", _npz(*_AS_CLASSES, x=_IMAGES, y=_CLASSES + 0.5), "such as 0.5"),
    Case("infinite values in npz", _npz(x=_IMAGES, y=np.append(_VALUES[1:], np.inf)), "row row-000019 is not"),
    Case(
        "values in npz beyond all measure",
        _npz(*_AS_VALUES, x=_IMAGES, y=_VALUES * 1e300),
        "must hold values below 1e150",
    ),
    Case("values in npz that are all the same", _npz(*_AS_VALUES, x=_IMAGES, y=_CLASSES * 0), "examples have 0"),
    Case("words as values in npz", _npz(*_AS_VALUES, x=_IMAGES, y=np.array(["a", "b"])[_CLASSES]), "holds 'a'"),
    Case("npz without images", _npz(a=_CLASSES), "d.npz"),
    Case("npz that is none", _file("d.npz", b"not a zip"), "d.npz"),
    Case(
        "a manifest of files that are not there",
        _manifest("path,label\n" + _ROWS.replace("pictures/", "x/none")),
        "none",
    ),
    Case("a manifest without labels", _manifest("path,kind\n" + _ROWS), "label"),
    Case("a manifest without any label", _manifest("path,label\n" + re.sub(",[ab]", ",", _ROWS)), "need labels"),
    Case(
        "a manifest with an infinite value", _manifest("path,label\n" + _VALUED.replace("0.5", "inf")), "4.png is not"
    ),
    Case("a manifest of words as values", _manifest("path,label\n" + _ROWS, ".csv", *_AS_VALUES), "holds 'a'"),
    Case(
        "values of a folder",
        lambda path: score(write_folder(path / "d", {"1": 6, "2": 6}), *_AS_VALUES),
        "only classes",
    ),
    Case("values of a known dataset", lambda _: score("digits", *_AS_VALUES), "digits has only classes"),
    Case("a manifest with one path twice", _manifest("path,label\n" + _ROWS * 2), "pictures/0.png"),
    Case("a manifest of broken JSON", _manifest('{"path": "pictures/0.png", "label": "a"}\n{oops\n', ".jsonl"), "2"),
    Case("a manifest of lists", _manifest(json.dumps(["pictures/0.png", "a"]) + "\n", ".jsonl"), "d.jsonl"),
]
