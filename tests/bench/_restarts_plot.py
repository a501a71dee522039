"""Success, and the share of each pod, over time: two pictures for each client, in one PNG."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._restarts_figures import by_second
from ._restarts_run import CLIENTS, Run

_COLOURS = ("#4477aa", "#ddaa33", "#228833", "#aa3377", "#66ccee")
_FAILED = "#cc3311"


def plot(runs: Sequence[Run], path: Path) -> None:
    """Write it. matplotlib is needed, in the group `bench`."""
    pyplot: Any = _pyplot()
    figure, rows = pyplot.subplots(len(runs), 2, figsize=(11, 1.9 * len(runs)), squeeze=False)
    for run, (success, share) in zip(runs, rows, strict=True):
        seconds = by_second(run.load)[:-1] or by_second(run.load)  # the last one is not a whole one
        times = range(len(seconds))
        pods = sorted({pod for second in seconds for pod in second if pod})
        good = [sum(second[pod] for pod in pods) for second in seconds]
        failed = [second[""] for second in seconds]
        success.stackplot(times, good, failed, colors=("#99bbdd", _FAILED), step="post")
        parts = [
            [second[pod] / n if n else 0.0 for second, n in zip(seconds, good, strict=True)] for pod in pods
        ]
        if pods:
            share.stackplot(times, *parts, labels=pods, colors=_COLOURS, step="post")
            share.legend(loc="lower left", fontsize=7, ncols=len(pods))
        share.set_ylim(0, 1)
        success.set_title(f"{CLIENTS[run.client]}: answered, failed (red), a second", fontsize=9, loc="left")
        share.set_title("share of each pod", fontsize=9, loc="left")
        for axes in success, share:
            axes.set_xlim(0, max(len(seconds) - 1, 1))
            axes.tick_params(labelsize=7)
            for begun, end in run.restarts:
                for at in begun, end:
                    axes.axvline(at, color="black", linewidth=0.6, linestyle=":")
    for axes in rows[-1]:
        axes.set_xlabel("seconds; dotted: a restart begins, ends", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80, format="png")
    pyplot.close(figure)
    image: Any = importlib.import_module("PIL.Image")  # matplotlib brings it
    drawn = image.open(path).convert("RGB")
    drawn.quantize(64).save(path, format="PNG", optimize=True)  # a quarter of the size, for the repository


def available() -> bool:
    """Whether there is a matplotlib."""
    try:
        _pyplot()
    except ImportError:
        return False
    return True


def _pyplot() -> Any:
    # By its name: those who check types without the group `bench` need not have it.
    importlib.import_module("matplotlib").use("agg")
    return importlib.import_module("matplotlib.pyplot")
