"""Draws how the costs grow; apart from the rest, because only this needs matplotlib."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.growth import Growth

mpl.use("svg")
# the same bytes for the same figures
mpl.rcParams["svg.hashsalt"] = "luigi_sshjob"

_PANELS = {
    "wall": "wall time (s)",
    "host_cpu": "CPU of the host (s)",
    "local_cpu": "local CPU (s)",
    "bad": "jobs that failed or ran twice",
}


def draw(growth: Growth, path: Path) -> None:
    """Draw one panel for each cost, next to each other."""
    figure, panels = pyplot.subplots(1, len(_PANELS), figsize=(12, 3), layout="constrained")
    for panel, (name, title) in zip(panels, _PANELS.items(), strict=True):
        for way, costs in growth.items():
            values = [getattr(cost, name) for cost in costs.values()]
            heights = [math.nan if value is None else value for value in values]
            panel.plot(list(costs), heights, marker="o", markersize=3, label=way)
        panel.set(title=title, xlabel="jobs of 9 s at once")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
