"""Writer of class folders as they came: files are copied to their own paths, those with a new label to another folder.

A file that holds a class, one text a line, is copied without the lines that were dropped or have a new label.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZipFile

from attribution_core.datasets.formats.delimited import decode, split_lines, without_end
from attribution_core.datasets.listing import Listing, normalize_name
from attribution_core.errors import InputError
from attribution_core.export import folder
from attribution_core.export.examples import CleanedExamples
from attribution_core.export.zips import WHY_RENAMED, add_file, zip_entry, zip_with_provenance
from attribution_core.progress import track
from attribution_core.runs.names import UniqueNames

_SHOWN = 3  # files that a note names


@dataclass(frozen=True, eq=False)
class _Source:
    """The files of a dataset by their places: their paths in it, composed.

    Attributes:
        labels: Class of each file.
        lines: For each file of which every line is an example, their ids by number of the line, from 1.
        files: Where each file is.
        classes: Names of all classes.
    """

    labels: dict[str, str]
    lines: dict[str, dict[int, str]]
    files: dict[str, Path]
    classes: list[str]

    @classmethod
    def of(cls, listing: Listing, location: Path) -> _Source:
        found = cls({}, {}, {}, listing.class_names)
        for part in listing.parts.values():
            for id_, image, label in zip(part.ids, part.images, part.labels, strict=True):
                place, _, number = id_.rpartition(":")
                if place.lower().endswith(".txt") and number.isdecimal():
                    found.lines.setdefault(place, {})[int(number)] = id_
                else:
                    place = id_
                found.labels[place] = listing.class_names[label]
                if place not in found.files:
                    found.files[place] = getattr(image, "path", None) or _find(location, place)
        return found

    def class_depth(self) -> int | None:
        """Return which part of every place is the class: 1 below folders of splits; None if there is no such part."""
        parts = {place: PurePosixPath(place).parts for place in self.labels}
        for depth in range(min(map(len, parts.values()))):
            if all(
                parts[place][depth] == name
                or (place in self.lines and PurePosixPath(*parts[place][depth:]).with_suffix("") == PurePosixPath(name))
                for place, name in self.labels.items()
            ):
                return depth
        return None


@dataclass(frozen=True, eq=False)
class _Names:
    """The paths in the zip: those of the source where every system can hold them."""

    depth: int
    classes: dict[str, str]
    renamed: dict[str, str] = field(default_factory=dict)
    _folders: dict[tuple[str, str], str] = field(default_factory=dict)
    _taken: dict[str, UniqueNames] = field(default_factory=dict)

    def of(self, place: str, label: str) -> str:
        """Return the path of a file with this label, which no other file has."""
        *above, name = PurePosixPath(place).parts
        suffix = PurePosixPath(name).suffix
        if self.depth < len(above):
            above[self.depth] = self.classes[label]
        else:
            name = self.classes[label] + suffix
        path = ""
        for depth, part in enumerate(above):
            path += (part if depth == self.depth else self._folder(path, part)) + "/"
        unique = self._taken.setdefault(path, UniqueNames())
        path += name if self.depth == len(above) else unique.take(name.removesuffix(suffix), suffix)
        if path != "/".join((*above, name)):
            self.renamed[place] = path
        return path

    def _folder(self, above: str, name: str) -> str:
        if (above, name) not in self._folders:
            self._folders[above, name] = self._taken.setdefault(above, UniqueNames()).take(name)
        return self._folders[above, name]


def write(examples: CleanedExamples, path: Path) -> None:
    """Write a zip of the files in the folders that they are in, with the decisions applied.

    A name that not every system can hold is changed, which the provenance says.
    """
    location = Path(examples.splits.location)
    source = _Source.of(examples.listing, location)
    depth = source.class_depth()
    if depth is None:
        folder.write(examples, path)
        return
    unique = UniqueNames()
    names = _Names(depth, {name: unique.take(name) for name in source.classes})
    _note_lost(examples)
    # Files that stay in their class come first, so that they keep their names.
    # The ids are paths, so they are unique over all splits.
    dropped = {id_ for _, id_ in examples.dropped}
    relabelled = {id_: str(label) for (_, id_), label in examples.relabelled.items()}
    places = sorted(source.files, key=lambda place: place in relabelled)
    with zip_with_provenance(path, examples.provenance) as archive:
        for place in track(places, len(places), "export"):
            if place not in source.lines and place not in dropped:
                label = relabelled.get(place, source.labels[place])
                add_file(archive, names.of(place, label), source.files[place])
        _write_lines(archive, source, names, dropped, relabelled)
        used = {name: new for name, new in names.classes.items() if name in source.labels.values()}
        examples.provenance.note_renamed("classes", used, WHY_RENAMED)
        examples.provenance.note_renamed("files", names.renamed, WHY_RENAMED)


def _write_lines(
    archive: ZipFile, source: _Source, names: _Names, dropped: set[str], relabelled: dict[str, str]
) -> None:
    """Write the files of lines; a line with a new label goes to the end of the file of its class."""
    texts = {place: decode(source.files[place].read_bytes(), source.files[place]) for place in source.lines}
    kept: dict[str, list[str]] = {}
    moved: dict[str, list[str]] = {}
    for place, ids in source.lines.items():
        kept[place] = []
        for number, line in enumerate(split_lines(texts[place][0]), start=1):
            id_ = ids.get(number, "")
            if id_ in relabelled:
                home = PurePosixPath(place)
                moved.setdefault(str(home.with_name(f"{relabelled[id_]}{home.suffix}")), []).append(line)
            elif id_ not in dropped:
                kept[place].append(line)
    for place in dict.fromkeys((*kept, *moved)):
        lines, new = kept.get(place, []), moved.get(place, [])
        _, encoding, bom = texts.get(place, ("", "utf-8", b""))
        if new:
            end = next((line[len(without_end(line)) :] for line in (*lines, *new) if without_end(line) != line), "\n")
            lines = [each if each != without_end(each) else each + end for each in lines]
            lines += [without_end(each) + end for each in new]
        label = source.labels.get(place, PurePosixPath(place).stem)
        archive.writestr(zip_entry(names.of(place, label)), bom + "".join(lines).encode(encoding), ZIP_DEFLATED)


def _note_lost(examples: CleanedExamples) -> None:
    """Note the files that were never examples, which only the original folder has."""
    lost = examples.listing.unreadable
    if lost:
        shown = ", ".join(f"{each.where} ({each.why})" for each in lost[:_SHOWN])
        more = f" and {len(lost) - _SHOWN:,} more" if len(lost) > _SHOWN else ""
        examples.provenance.notes.append(f"{len(lost):,} files are no examples and not in the export: {shown}{more}.")


def _find(folder: Path, place: str) -> Path:
    """Return the file at a place, whose name on disk may be composed otherwise."""
    found = folder
    for part in PurePosixPath(place).parts:
        if (found / part).exists():
            found = found / part
            continue
        same = [entry for entry in found.iterdir() if normalize_name(entry.name) == part] if found.is_dir() else []
        if not same:
            raise InputError(f"{folder} has no {place}: give the location of the scored data, or score them again.")
        found = same[0]
    return found
