"""Draw the figures of experiments as PNG files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attribution_core.errors import InputError


@dataclass(frozen=True)
class Panel:
    """Describe one plot: lines over numbers, or points over names.

    Attributes:
        title: Title above the plot.
        label: Label of the axis of ``x`` if ``x`` holds numbers, or of the axis of values if it holds names.
        series: Values by name, each as long as ``x``; None leaves a gap.
        x: Numbers, or names.
        levels: Horizontal lines by name, such as the paper's number.
        log: Whether the axis of values is logarithmic.
    """

    title: str
    label: str
    series: Mapping[str, Sequence[float | None]]
    x: Sequence[float] | Sequence[str]
    levels: dict[str, float] = field(default_factory=dict)
    log: bool = False


def write_figure(path: Path, panels: Sequence[Panel]) -> None:
    """Draw the panels side by side and write them as PNG.

    Raises:
        InputError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("Figures of experiments need Matplotlib: pip install 'samplescope[experiments]'.") from error
    named = [bool(panel.x) and isinstance(panel.x[0], str) for panel in panels]
    height = max([4.0, *(0.22 * len(panel.x) + 1 for panel, names in zip(panels, named, strict=True) if names)])
    figure = Figure(figsize=(5.2 * len(panels), height), layout="constrained")
    for axes, panel, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, named, strict=True):
        positions = range(len(panel.x)) if names else panel.x
        for marker, (name, values) in zip("osD^v" * len(panel.series), panel.series.items(), strict=False):
            numbers = [float("nan") if value is None else value for value in values]
            if names:
                axes.plot(numbers, positions, marker, label=name)
            else:
                axes.plot(positions, numbers, f"-{marker}", label=name)
        for name, level in panel.levels.items():
            axes.axhline(level, linestyle="--", color="gray", label=f"{name}: {level:g}")
        if names:
            axes.set_yticks(list(positions), list(panel.x))
            axes.invert_yaxis()
        if panel.log:
            (axes.set_xscale if names else axes.set_yscale)("log")
        axes.set_xlabel(panel.label)
        axes.set_title(panel.title)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12 * 4 / height), ncols=2)
    figure.savefig(path, dpi=120)
