"""Draws how the costs grow; apart from the rest, because only this needs matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.growth import Series

mpl.use("svg")
# the same bytes for the same figures
mpl.rcParams["svg.hashsalt"] = "luigi_sshjob"


def draw(growth: dict[str, Series], path: Path) -> None:
    """Draw three panels next to each other."""
    figure, panels = pyplot.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for number, (panel, title) in enumerate(zip(panels, ("wall time", "CPU of the host", "local CPU"), strict=True)):
        for way, series in growth.items():
            points = [(jobs, values[number]) for jobs, values in sorted(series.items()) if values[number]]
            if points:
                panel.plot(*zip(*points, strict=True), marker="o", markersize=3, label=way)
        panel.set(title=f"{title} (s)", xlabel="jobs of 9 s at once")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
