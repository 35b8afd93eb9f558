"""Arrow's parser and the slow reader find the same rows in every file that Arrow may read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution_core.datasets.formats import delimited
from attribution_core.datasets.formats.delimited import read_delimited
from attribution_core.datasets.formats.quick_delimited import read_quickly
from attribution_core.errors import InputError
from tests.support.hostile_tables import delimited_tables

_PIECES = [
    "a",
    "7",
    "é",
    " ",
    ",",
    ",",
    ";",
    "\t",
    "\n",
    "\n",
    "\r\n",
    "\r",
    '"',
    '""',
    '","',
    '"\n"',
    "\u2028",
    "\ufeff",
]


def read_both(folder, content, suffix):
    """Return what the readers find, or the sentence that refuses it: with Arrow's parser, and without."""
    path = folder / f"d{suffix}"
    path.write_bytes(content)
    found = []
    for quick in (read_quickly, lambda *_: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delimited, "read_quickly", quick)
            try:
                rows = read_delimited(path)
                found.append((rows.columns, rows.cells, rows.lines, rows.records, rows.head, rows.dialect, rows.notes))
            except InputError as error:
                found.append((str(error),))
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data(), suffix=st.sampled_from([".csv", ".tsv"]))
def test_hostile_tables(tmp_path_factory, data, suffix):
    table = data.draw(delimited_tables(suffix))
    quick, slow = read_both(tmp_path_factory.getbasetemp(), table.content(), suffix)
    assert quick == slow


@settings(max_examples=150, deadline=None)
@given(
    header=st.sampled_from(["a,b", "a;b", "a\tb", '"a","b"', "a,b,c", "sep=;\na;b", "\n a,b", '"a\nx",b', "a"]),
    pieces=st.lists(st.sampled_from(_PIECES), max_size=40),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
def test_any_text(tmp_path_factory, header, pieces, suffix):
    content = f"{header}\n{''.join(pieces)}".encode()
    quick, slow = read_both(tmp_path_factory.getbasetemp(), content, suffix)
    assert quick == slow


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.sampled_from(["x", "y", "", "1", "é", "a,b", 'q"q', "two\nlines", "x\ny,x\nz", "\r\n"]),
                           min_size=2, max_size=2), min_size=1, max_size=30),
    quotes=st.sampled_from(["needed", "all"]),
)  # fmt: skip
def test_texts_of_several_lines(tmp_path_factory, rows, quotes):
    cells = [
        ",".join(
            '"' + cell.replace('"', '""') + '"' if quotes == "all" or any(c in cell for c in ',"\n\r') else cell
            for cell in row
        )
        for row in [["a", "b"], *rows]
    ]
    quick, slow = read_both(tmp_path_factory.getbasetemp(), "\n".join(cells).encode(), ".csv")
    assert quick == slow


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n\n2,y\n",
        "\na,b\r\n1,x\r\n2,y",
        'a,b\n"1, 2","say ""hi"""\n"two\nlines",\n',
        '"a\nb",c\n"",""\n',
        "a,b\n",
    ],
)
def test_usual_files_are_read_quickly(text):
    start = 1 if text.startswith("\n") else 0
    assert read_quickly(text.encode(), start, ",") is not None


@pytest.mark.parametrize(
    "text",
    [
        'a,b\nsay "hi",x\n',
        'a,b\n"x"y,z\n',
        'a,b\n"x,y\n',
        "a,b\none\rtwo,x\n",
        "a,b\n1,2,3\n",
        "a\n1\n",
        "a,b\n  \n1,2\n",
    ],
)
def test_doubtful_files_are_left_to_the_slow_reader(text):
    assert read_quickly(text.encode(), 0, ",") is None
