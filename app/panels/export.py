"""The export of the cleaned set: its format, counts to confirm, and the download."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Literal

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.progress import listening
from attribution_core.runs import Run
from attribution_core.runs.cleaned import changes
from attribution_core.runs.labels import split_name
from attribution_core.runs.names import EXPORTS_FOLDER
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

Format = Literal["csv", "parquet", "folder", "same"]  # that of attribution_core.export.export, which imports PyTorch

_FORMATS: dict[Format, str] = {
    "csv": "CSV list",
    "same": "Original format",
    "parquet": "Parquet",
    "folder": "Zip of folders",
}
_OF_IMAGES = ("parquet", "folder")  # cannot hold texts or rows of a table
_OF_CLASSES = ("folder",)  # cannot hold values
_CONTENTS = {
    "csv": "A row for each example: its split, final {label}, {label} in the data, decision and scores.",
    "same": "The data as they came, with all splits: only dropped examples and new {label}s differ.",
    "parquet": "The cleaned images of all splits in the Hugging Face convention.",
    "folder": "The cleaned images of all splits in class folders.",
}
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".jsonl": "application/jsonl",
    ".npz": "application/octet-stream",
    ".parquet": "application/vnd.apache.parquet",
    ".zip": "application/zip",
}
# A download passes through memory. Larger files are on this machine anyway, so the page only shows their path.
_LARGEST_DOWNLOAD = 200 * 1024**2


def panel(run: Run) -> None:
    """Draw the panel."""
    st.markdown("**Export the cleaned set**")
    unsuitable = _OF_IMAGES if "text" in run.examples else _OF_CLASSES if run.values is not None else ()
    formats = [name for name in _FORMATS if name not in unsuitable]
    format_ = st.pills(  # which wrap in a narrow column
        "Format",
        formats,
        format_func=_FORMATS.__getitem__,
        default="csv",
        required=True,
        key="export format",
        label_visibility="collapsed",
    )
    st.caption(_CONTENTS[format_].format(label=labels.noun(run)))
    for split, counts in changes(run).items():
        if split == "train" or counts["dropped"] or counts["relabelled"]:
            st.markdown(
                f"Of {counts['kept'] + counts['dropped']:,} {split_name(split)} examples, "
                f"**{counts['kept']:,} are kept**, {counts['dropped']:,} are dropped and {counts['relabelled']:,} get "
                f"a new {labels.noun(run)}."
            )
    st.caption("The dataset itself does not change.")
    if st.button("Export", icon=":material/download:", type="primary"):
        st.session_state[f"exported {run.id}"] = _export(run, format_), run.decisions.version()
    done, version = st.session_state.get(f"exported {run.id}", (None, 0))
    if done is not None and version != run.decisions.version():
        st.caption(f"You have decided more since {plain(done[0].name)} was saved: export again to include it.")
    elif done is not None:
        _offer(*done)


def _export(run: Run, format_: Format) -> tuple[Path, list[str]] | None:
    """Write the export; return its file, and what is not in it as it was in the data."""
    # Imported on demand, since it imports PyTorch, which no other page needs.
    from attribution_core.export.export import export_run, suffix_of

    stem = re.sub(r"[^\w-]+", "-", run.id)
    bar = st.progress(0.0, text="Exporting")

    def show(done: int, total: int, what: str) -> None:
        bar.progress(done / max(1, total), text=what.capitalize())

    try:
        out = run.path / EXPORTS_FOLDER / f"{stem}-{datetime.now():%Y%m%d-%H%M%S-%f}{suffix_of(run, format_)}"
        with listening(show):
            summary = export_run(run, format_, out)
    except InputError as error:
        st.error(plain(error), icon=":material/error:")
        return None
    finally:
        bar.empty()
    return summary.path, summary.notes


def _offer(path: Path, notes: list[str]) -> None:
    if not path.is_file():
        return
    st.success(f"Saved in {plain(path)}", icon=":material/check:")
    for note in notes:
        st.info(plain(note), icon=":material/info:")
    if path.stat().st_size <= _LARGEST_DOWNLOAD:
        st.download_button(
            f"Download {plain(path.name)}",
            path.read_bytes,
            file_name=path.name,
            mime=_MEDIA_TYPES[path.suffix],
            icon=":material/save_alt:",
            on_click="ignore",
        )
