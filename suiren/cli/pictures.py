"""The two plots of a run, drawn by matplotlib into PNG bytes without a display.

Figures are made directly, not through pyplot, so nothing global is touched but the font list.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from suiren.cli.runfolder import CLASSIFY, Epoch
from suiren.vision import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN_COLOUR, TEST_COLOUR = "#8aa4c8", "#c8553d"
INK, PALE = "#333333", "#d9d9d9"
MOST_NUMBERED = 20  # classes; beyond it the counts in the cells would be too small to read
MOST_NAMED = 60  # classes; beyond it only some get their name on the axes
LONGEST_NAME = 18  # characters of a class name


@contextlib.contextmanager
def _setting() -> Iterator[None]:
    """Draw with fonts for any script, and keep matplotlib's remarks on fonts from the user."""
    # A first use tells of building its font list, an odd font of its glyphs: not the user's news.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import rc_context

    with rc_context({"font.family": plots.font_families()}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_setting()
def draw_curves(history: list[Epoch], task: str = CLASSIFY) -> bytes:
    """A PNG with the loss on the left, and on the right both accuracies or errors, by epoch."""
    figure = _new_figure(9.0, 3.6)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    epochs = [epoch.epoch for epoch in history]
    mark = "o" if len(epochs) <= 30 else ""
    style: dict[str, Any] = {"marker": mark, "markersize": 3.5, "linewidth": 1.8, "clip_on": False}

    loss_axes.plot(epochs, [epoch.loss for epoch in history], color=TRAIN_COLOUR, **style)
    loss_axes.set_ylim(bottom=0)
    _dress(loss_axes, "Training loss", epochs)

    share = 1.0 if task == CLASSIFY else 100.0  # errors in percent of the side
    train = [share * epoch.train_score for epoch in history]
    test = [share * epoch.test_score for epoch in history]
    accuracy_axes.plot(epochs, train, color=TRAIN_COLOUR, label="train", **style)
    accuracy_axes.plot(epochs, test, color=TEST_COLOUR, label="test", **style)
    if task == CLASSIFY:
        low = min(train + test)
        accuracy_axes.set_ylim(max(0.0, low - 0.08 * (1.0 - low) - 0.005), 1.005)
        _dress(accuracy_axes, f"Accuracy (test {test[-1]:.4f} at the end)", epochs)
    else:
        accuracy_axes.set_ylim(bottom=0)
        _dress(accuracy_axes, f"Error, % of the side (test {test[-1]:.2f} at the end)", epochs)
    place = "lower right" if task == CLASSIFY else "upper right"
    accuracy_axes.legend(loc=place, frameon=False, labelcolor="linecolor")
    return _png(figure)


@_setting()
def draw_confusion(counts: np.ndarray, classes: list[str]) -> bytes:
    """A PNG of the confusion matrix.

    Args:
        counts: integers (K, K); row i, column j counts test images of class i taken for j.
        classes: the K names.
    """
    number = len(classes)
    side = min(12.0, max(4.6, 2.4 + 0.42 * number))
    figure = _new_figure(side + 0.6, side)
    axes = figure.subplots()
    # Shares of a row, not counts: a rare class is as visible as a common one.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)

    step = -(-number // MOST_NAMED)
    at = range(0, number, step)
    names = [_short(classes[i]) for i in at]
    size = max(5.0, min(10.0, 260 / number))
    upright = max(len(name) for name in names) > max(3, 24 // number)  # else they would overlap
    axes.set_xticks(at, names, fontsize=size, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(at, names, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(number + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(number + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=min(1.5, 30 / number))
    axes.tick_params(which="minor", length=0)
    if number <= MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else INK
                place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size - 1}
                axes.text(column, row, str(count), color=colour, **place)
    right, total = int(np.trace(counts)), int(counts.sum())
    axes.set_title(f"{right} of {total} test images right", color=INK, fontsize=11, loc="left")
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, colors=INK, labelsize=8)
    bar.set_label("share of the true class", color=INK, fontsize=9)
    return _png(figure)


def _new_figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _dress(axes: "Axes", title: str, epochs: list[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, color=INK, fontsize=11, loc="left")
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(color=PALE, labelcolor=INK, labelsize=9)
    axes.grid(axis="y", color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)


def _short(name: str) -> str:
    # A lone surrogate (a file name that is no UTF-8) cannot be drawn.
    name = name.encode("utf-8", "replace").decode()
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
