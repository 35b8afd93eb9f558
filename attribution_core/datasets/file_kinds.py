"""Kinds of files, by name and by their first bytes: images, files of the operating system, and what else it may be."""

import os
from pathlib import Path

_BY_FORMAT = (
    ".png .apng .jpg .jpeg .jpe .jfif .bmp .dib .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .avif .avifs "
    ".heic .heif .hif .jp2 .j2k .jpc .jpf .jpx .j2c"
)
SUFFIXES = frozenset(_BY_FORMAT.split(" "))

# Files and folders that systems and programs leave beside the data, in lower case; hidden ones are junk too.
_JUNK = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found")
)

_HEAD = 132  # bytes that tell the kind
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_OTHERS = (
    (b"\x93NUMPY", "a NumPy array"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "a Photoshop file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "HDF5"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
)
_ISO_MEDIA = {
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    "AVIF": (b"avif", b"avis"),
}


def is_junk(name: str) -> bool:
    """Return whether a file or folder of this name is hidden or the operating system's, and so no part of a dataset."""
    return name.startswith(".") or name.lower() in _JUNK


def image_format(head: bytes) -> str | None:
    """Return the format of an image from the first bytes of its file, as Pillow or HEIC; None for any other file."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    if head[4:8] == b"ftyp":
        brands = (head[8:12], *(head[start : start + 4] for start in range(16, 48, 4)))
        for brand in brands:  # the first that is known: AVIF files name mif1 too, after their own brand
            for name, known in _ISO_MEDIA.items():
                if brand in known and not (brand == b"mif1" and b"avif" in brands):
                    return name
    return next((name for magic, name in _IMAGES if head.startswith(magic)), None)


def described(head: bytes) -> str | None:
    """Return what a file that is no readable image is, in a few words; None if that is unknown."""
    if head[128:132] == b"DICM":
        return "DICOM"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next(
        (name for magic, name in _OTHERS if head.startswith(magic) or start[: len(magic)].lower() == magic), None
    )


def why_no_image(file: os.PathLike[str]) -> str | None:
    """Return why a file is not listed as an image, in a few words; None for an image by its suffix or by its content.

    Files with an image's suffix are not opened here: decoding them tells.
    """
    path = Path(file)
    if path.suffix.lower() in SUFFIXES:
        return None
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        return str(error.strerror)
    if image_format(head) is not None:
        return None
    kind = described(head)
    if not head:
        return "it is empty (zero bytes)"
    return f"it is {kind}, not an image" if kind else f"it is not an image{f' ({path.suffix})' if path.suffix else ''}"
