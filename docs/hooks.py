"""What the documentation takes from the code while it is built, so that the two cannot differ.

Comments in the pages are replaced: ``<!-- measure: fsi -->`` by the entry of that measure in the registry,
``<!-- measures -->`` by a table of all of them and ``<!-- experiments -->`` by the table of the published results.
Equations between ``$$`` become MathML, which browsers draw without a script.
"""

import html
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from attribution_core.experiments.registry import EXPERIMENTS
from attribution_core.runs import MEASURES, Measure

ROOT = Path(__file__).parent.parent
COMMENT = re.compile(r"<!-- (?P<what>measures|experiments|measure: (?P<name>\w+)) -->")
_EQUATION = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_SUSPICIOUS = {
    "high": "A high value hints at a wrong label.",
    "low": "A low value hints at a wrong label.",
    None: "Neither end of the scale hints at a wrong label.",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures, which the README shows too."""
    for picture in sorted((ROOT / "assets").glob("*.png")):
        files.append(File.generated(config, f"assets/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in what comes from the code, and draw the equations."""
    return _EQUATION.sub(lambda found: equation(found[1]), COMMENT.sub(_filled_in, markdown))


def equation(latex: str) -> str:
    """Return a displayed equation as a paragraph of MathML."""
    return f'<p style="overflow-x: auto">{convert(latex.strip(), display="block")}</p>'


def _filled_in(found: re.Match[str]) -> str:
    if found["what"] == "measures":
        return measures_table()
    if found["what"] == "experiments":
        return experiments_table()
    if found["name"] not in MEASURES:
        raise PluginError(f"The registry has no measure {found['name']}: attribution_core/runs/measures.py lists them.")
    return measure_entry(MEASURES[found["name"]])


def measure_entry(measure: Measure) -> str:
    """Return the definition, the equation and the facts of a measure."""
    facts = [f"Column or method: `{measure.name}`", f"Unit: {measure.unit or 'none'}", _SUSPICIOUS[measure.suspicious]]
    facts += [f"Source: {measure.paper}"] if measure.paper else []
    return "\n\n".join([measure.definition, f"$${measure.equation}$$", "\n".join(f"- {fact}" for fact in facts)])


def measures_table() -> str:
    """Return a table of all measures."""
    rows = [
        [
            f"`{each.name}`",
            each.title,
            each.kind,
            each.unit or "none",
            each.suspicious or "-",
        ]
        for each in MEASURES.values()
    ]
    return _table(["Name", "Title", "Kind", "Unit", "End that hints at a wrong label"], rows)


def experiments_table() -> str:
    """Return a table of all experiments: what each repeats and whether the paper's statement held."""
    rows = [
        [f"`{each.name}`", each.source, each.title, each.state, each.remark, f"{each.minutes:g}"]
        for each in EXPERIMENTS
    ]
    return _table(["Experiment", "Source", "What it does", "State", "What we measured", "Minutes"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|")
