"""Pictures for notebooks and lessons, by matplotlib: `plots.curves(...)`, `plots.filters(model)`.

Every function draws into `ax`, or into a figure of its own, and returns the figure, which a
notebook shows and `figure.savefig("name.png")` keeps. Labels may be in any script: fonts for
Chinese, Japanese and Korean are used where the system has them. matplotlib is imported when the
first picture is drawn; it comes with the extra `plots`.
"""

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import suiren as torch
from suiren import nn
from suiren.tensor import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4f7cac", "#c8553d", "#6b8f3c", "#b58a2c", "#7a5ca5", "#3f9a94", "#8c564b", "#d67ba8")
INK, PALE = "#333333", "#d9d9d9"
GOOD, GUESS = "#2bb56b", "#ff4f64"  # true and predicted points

# matplotlib's own font lacks Chinese, Japanese and Korean; those of these that are installed help.
CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Noto Sans CJK JP", "Source Han Sans SC",
    "Source Han Sans CN", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Hiragino Sans",
    "Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback",
)  # fmt: skip


def need_matplotlib() -> None:
    """Raise ImportError that names the extra if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "suiren.vision.plots needs matplotlib, which is not installed; install it with: "
            'pip install "suiren[plots]"'
        ) from error


def font_families() -> list[str]:
    """The fonts that pictures use, those for Chinese and its kin after matplotlib's own."""
    return ["DejaVu Sans", *_cjk_fonts()]


@functools.cache
def _cjk_fonts() -> tuple[str, ...]:
    from matplotlib.font_manager import findSystemFonts, fontManager

    def known() -> tuple[str, ...]:
        installed = {font.name for font in fontManager.ttflist}
        return tuple(name for name in CJK_FONTS if name in installed)

    if not known():  # matplotlib keeps its list of fonts: one installed since is not in it
        words = [name.replace(" ", "").lower() for name in CJK_FONTS]
        for path in findSystemFonts():
            stem = os.path.basename(path).lower().replace("-", "").replace("_", "")
            if stem.startswith(("wqy", "msyh", "simhei", *words)):
                with contextlib.suppress(Exception):  # a font that it cannot read is none
                    fontManager.addfont(path)
    return known()


def font_file() -> str | None:
    """The file of a font that has Chinese letters; None if matplotlib or the font is missing."""
    try:
        from matplotlib.font_manager import FontProperties, findfont
    except ImportError:
        return None
    names = font_families()[1:]
    return findfont(FontProperties(family=names[0])) if names else None


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Inside, matplotlib draws as here: these fonts and colours, thin axes, minus signs that show.

    Example:
        with plots.style():
            plt.plot(x, y, label="损失")
    """
    need_matplotlib()
    from matplotlib import rc_context
    from matplotlib.rcsetup import cycler

    settings: dict[Any, Any] = {
        "font.family": font_families(),
        "axes.unicode_minus": False,  # the fonts for Chinese may lack it
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": PALE,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.titlesize": 11,
        "axes.axisbelow": True,
        "grid.color": PALE,
        "grid.linewidth": 0.6,
        "xtick.color": PALE,
        "ytick.color": PALE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "savefig.dpi": 150,
    }
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple["Figure", Any]:
    """A figure that pyplot does not know, so that none piles up, and its axes (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _axes(ax: "Axes | None", width: float, height: float) -> tuple["Figure", "Axes"]:
    if ax is not None:
        return ax.figure, ax  # type: ignore[return-value]
    figure, axes = _figure(width, height)
    return figure, axes[0, 0]


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


# --------------------------------------------------------------------------
# Functions and curves


def activations(
    functions: Mapping[str, Callable] | Sequence[Any] | None = None,
    low: float = -5.0,
    high: float = 5.0,
    derivatives: bool = True,
) -> "Figure":
    """Activation functions, each with its derivative, which autograd gives.

    Args:
        functions: functions of a tensor by name, or modules and functions whose names are used;
            None for ReLU, LeakyReLU, Sigmoid, Tanh, GELU and SiLU.
        low, high: the range of the input.
        derivatives: draw them too.

    Example:
        >>> from suiren import nn
        >>> from suiren.vision import plots
        >>> figure = plots.activations([nn.ReLU(), nn.Tanh()])
        >>> len(figure.axes)
        2
    """
    if functions is None:
        functions = [
            nn.ReLU(), nn.LeakyReLU(0.1), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.SiLU()
        ]  # fmt: skip
    if not isinstance(functions, Mapping):
        functions = {getattr(f, "__name__", type(f).__name__): f for f in functions}
    with style():
        columns = min(3, len(functions))
        rows = math.ceil(len(functions) / columns)
        figure, axes = _figure(3.4 * columns, 2.6 * rows, rows, columns)
        for ax, (name, function) in zip(axes.flat, functions.items(), strict=False):
            x = torch.linspace(low, high, 401, requires_grad=True)
            y = function(x)
            ax.axhline(0, color=PALE, linewidth=0.8)
            ax.axvline(0, color=PALE, linewidth=0.8)
            ax.plot(_array(x), _array(y), linewidth=2)
            if derivatives:
                (slope,) = torch.autograd.grad(y.sum(), x)
                ax.plot(_array(x), _array(slope), linewidth=1.4, linestyle="--")
            ax.set_title(name, loc="left")
        for ax in list(axes.flat)[len(functions) :]:
            ax.remove()
        return figure


def curves(
    values: Mapping[str, Sequence[float]],
    x: Sequence[float] | None = None,
    title: str = "",
    xlabel: str = "epoch",
    ylabel: str = "",
    log: bool = False,
    ax: "Axes | None" = None,
) -> "Figure":
    """Lines over epochs or steps, such as `{"train": losses, "test": test_losses}`.

    Args:
        values: a sequence of numbers by name; lengths may differ.
        x: their places; None for 1, 2, 3 and so on.
        log: a logarithmic vertical axis.

    Example:
        >>> from suiren.vision import plots
        >>> figure = plots.curves({"训练": [0.9, 0.4], "测试": [0.8, 0.5]}, title="损失")
        >>> figure.axes[0].get_title("left")
        '损失'
    """
    with style():
        figure, ax = _axes(ax, 5.4, 3.4)
        for (name, numbers), colour in zip(values.items(), _colours(len(values)), strict=True):
            heights = _array(numbers)
            places = np.arange(1, len(heights) + 1) if x is None else _array(x)[: len(heights)]
            mark = "o" if len(heights) <= 30 else ""
            ax.plot(places, heights, label=name, color=colour, marker=mark, markersize=3.5,
                    linewidth=1.8)  # fmt: skip
        ax.set_title(title, loc="left")
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.grid(axis="y")
        if log:
            ax.set_yscale("log")
        if x is None:
            from matplotlib.ticker import MaxNLocator

            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(values) > 1:
            ax.legend(labelcolor="linecolor")
        return figure


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


# --------------------------------------------------------------------------
# Networks


def filters(weights: Any, columns: int = 8, most: int = 64) -> "Figure":
    """The filters of a convolution: in colour if they look at three channels, else by sign.

    Args:
        weights: (F, C, h, w), or a module, whose first convolution is taken.
        columns: filters in a row.
        most: draw so many at most.

    Raises:
        ValueError: no convolution in the module, or weights of another number of dimensions.
    """
    need_matplotlib()
    if isinstance(weights, nn.Module):
        found = [m for m in weights.modules() if isinstance(m, nn.Conv2d)]
        if not found:
            raise ValueError(f"plots.filters got a {type(weights).__name__} without any Conv2d")
        weights = found[0].weight
    numbers = _array(weights)[:most]
    if numbers.ndim != 4:
        raise ValueError(f"plots.filters needs weights (F, C, h, w), got shape {numbers.shape}")
    if numbers.shape[1] == 3:
        low = numbers.min((1, 2, 3), keepdims=True)
        span = numbers.max((1, 2, 3), keepdims=True) - low
        return _grid((numbers - low) / np.where(span > 0, span, 1), None, columns, None, 0.9)
    return _grid(numbers[:, :1], None, columns, "RdBu_r", 0.9)


def feature_maps(
    model: nn.Module,
    image: Any,
    layers: Sequence[str] | None = None,
    columns: int = 8,
    most: int = 16,
) -> "Figure":
    """What the convolutions of a model give for an image, a row of maps or more for each.

    Args:
        image: (C, H, W) or (1, C, H, W), as the model takes it.
        layers: names of modules; None for all convolutions, five of them at most.
        most: so many maps of a layer at most.

    Raises:
        ValueError: a name that the model does not have, or no layer that gives (N, C, H, W).
    """
    need_matplotlib()
    modules = dict(model.named_modules())
    if layers is None:
        names = [name for name, m in modules.items() if isinstance(m, nn.Conv2d)]
        at = np.linspace(0, len(names) - 1, min(5, len(names)))
        layers = [names[int(round(i))] for i in at]
    missing = [name for name in layers if name not in modules]
    if missing:
        raise ValueError(f"plots.feature_maps: the model has no module {missing[0]!r}")
    seen: dict[str, np.ndarray] = {}

    def keeper(name: str) -> Callable:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            seen[name] = _array(output)

        return keep

    handles = [modules[name].register_forward_hook(keeper(name)) for name in layers]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            batch = image if isinstance(image, Tensor) else torch.as_tensor(np.asarray(image))
            model(batch if batch.dim() == 4 else batch[None])
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    chosen = [(name, seen[name][0]) for name in layers if name in seen and seen[name].ndim == 4]
    if not chosen:
        raise ValueError("plots.feature_maps found no layer that gives (N, C, H, W)")
    with style():
        counts = [math.ceil(min(most, len(maps)) / columns) for _, maps in chosen]
        figure, axes = _figure(1.1 * columns, 1.2 * sum(counts) + 0.2, sum(counts), columns)
        row = 0
        for (name, maps), rows in zip(chosen, counts, strict=True):
            block = axes[row : row + rows].ravel()
            for index, ax in enumerate(block):
                ax.axis("off")
                if index < min(most, len(maps)):
                    ax.imshow(maps[index], cmap="viridis")
            size = "x".join(str(side) for side in maps.shape)
            block[0].set_title(f"{name}  {size}", loc="left", fontsize=9)
            row += rows
        return figure


def decision_regions(
    model: Callable,
    points: Any,
    labels: Any,
    classes: Sequence[str] | None = None,
    steps: int = 200,
    title: str = "",
    ax: "Axes | None" = None,
) -> "Figure":
    """Where in the plane a classifier of two numbers chooses which class, and how surely.

    Args:
        model: maps float32 (N, 2) to logits (N, K), or for two classes to (N,) or (N, 1), above
            zero for class 1.
        points: (N, 2); labels: (N,) class numbers.
        classes: their names, for the legend.
        steps: the plane is asked at steps x steps places.

    Raises:
        ValueError: `points` has another shape.
    """
    where, numbers = _array(points), _array(labels).astype(int).ravel()
    if where.ndim != 2 or where.shape[1] != 2:
        raise ValueError(f"plots.decision_regions needs points (N, 2), got shape {where.shape}")
    with style():
        from matplotlib.colors import to_rgb

        low, high = where.min(0), where.max(0)
        edge = 0.08 * np.maximum(high - low, 1e-6)
        xs, ys = (np.linspace(low[i] - edge[i], high[i] + edge[i], steps) for i in range(2))
        plane = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2).astype(np.float32)
        training = getattr(model, "training", False)
        if isinstance(model, nn.Module):
            model.eval()
        with torch.no_grad():
            logits = _array(model(torch.from_numpy(plane)))
        if isinstance(model, nn.Module):
            model.train(training)
        if logits.ndim == 1 or logits.shape[1] == 1:
            logits = np.stack([np.zeros(len(plane)), logits.reshape(-1)], 1)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)  # steps * steps, K
        count = max(shares.shape[1], numbers.max() + 1)
        colours = np.array([to_rgb(colour) for colour in _colours(count)])
        sure = 0.12 + 0.38 * np.clip(shares.max(1) * 2 - 1, 0, 1)[:, None]
        picture = 1 - sure + sure * colours[shares.argmax(1)]
        figure, ax = _axes(ax, 4.6, 4.2)
        extent = (xs[0], xs[-1], ys[0], ys[-1])
        ax.imshow(picture.reshape(steps, steps, 3), origin="lower", extent=extent, aspect="auto",
                  interpolation="bilinear")  # fmt: skip
        if shares.shape[1] > 1:
            best = shares.argmax(1).reshape(steps, steps)
            edges = np.arange(shares.shape[1] - 1) + 0.5
            ax.contour(xs, ys, best, levels=edges, colors="white", linewidths=1.2)
        for number in np.unique(numbers):
            some = where[numbers == number]
            name = str(number) if classes is None else classes[number]
            ax.scatter(some[:, 0], some[:, 1], s=16, color=colours[number], edgecolor="white",
                       linewidth=0.5, label=name)  # fmt: skip
        ax.set_title(title, loc="left")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure


# --------------------------------------------------------------------------
# Results


def confusion_matrix(
    true: Any,
    predicted: Any,
    classes: Sequence[str] | None = None,
    xlabel: str = "predicted",
    ylabel: str = "true",
    ax: "Axes | None" = None,
) -> "Figure":
    """How often each class was taken for each: rows are true classes, columns predicted ones.

    Args:
        true, predicted: class numbers (N,).
        classes: their names; None for the numbers.
    """
    rows, columns = (_array(part).astype(int).ravel() for part in (true, predicted))
    size = len(classes) if classes is not None else int(max(rows.max(), columns.max())) + 1
    counts = np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
    names = [str(i) for i in range(size)] if classes is None else list(classes)
    with style():
        side = max(3.6, 1.6 + 0.42 * size)
        figure, ax = _axes(ax, side, side)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        long = max(len(name) for name in names) > 3
        ax.set_xticks(range(size), names, rotation=90 if long else 0)
        ax.set_yticks(range(size), names)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        if size <= 20:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = "white" if shares[row, column] > 0.5 else INK
                    ax.text(column, row, str(count), color=colour, ha="center", va="center",
                            fontsize=9)  # fmt: skip
        right = 100 * np.trace(counts) / max(1, counts.sum())
        ax.set_title(f"{right:.2f}%", loc="left")
        return figure


def images(
    batch: Any,
    titles: Sequence[Any] | None = None,
    columns: int = 8,
    cmap: str = "gray",
    size: float = 1.2,
) -> "Figure":
    """Images side by side.

    Args:
        batch: (N, C, H, W), (N, H, W) or a list of (C, H, W) and (H, W), C 1 or 3; bytes, or
            numbers of any range, which is stretched to black and white unless it is 0 to 1.
        titles: one above each.
        columns: images in a row.
        size: inches of an image.
    """
    need_matplotlib()
    pictures = [_array(one) for one in batch]
    return _grid([p if p.ndim == 3 else p[None] for p in pictures], titles, columns, cmap, size)


def _grid(
    pictures: Any, titles: Sequence[Any] | None, columns: int, cmap: str | None, size: float
) -> "Figure":
    with style():
        columns = max(1, min(columns, len(pictures)))
        rows = math.ceil(len(pictures) / columns)
        extra = 0.25 if titles is not None else 0.05
        figure, axes = _figure(size * columns, (size + extra) * rows, rows, columns)
        signed = cmap is not None and cmap.startswith("RdBu")
        for ax in axes.flat:
            ax.axis("off")
        for number, (ax, picture) in enumerate(zip(axes.flat, pictures, strict=False)):
            if picture.shape[0] == 3:
                ax.imshow(_unit(picture).transpose(1, 2, 0))
            elif signed:
                most = float(np.abs(picture[0]).max()) or 1.0
                ax.imshow(picture[0], cmap=cmap, vmin=-most, vmax=most)
            else:
                ax.imshow(_unit(picture)[0], cmap=cmap, vmin=0, vmax=1)
            if titles is not None and number < len(titles):
                ax.set_title(str(titles[number]), fontsize=9)
        return figure


def _unit(picture: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1; see `images`."""
    if picture.dtype == np.uint8:
        return picture / 255
    picture = np.nan_to_num(picture.astype(np.float64))
    low, high = picture.min(), picture.max()
    if 0 <= low and high <= 1:
        return picture
    return (picture - low) / (high - low or 1.0)


def keypoints(
    batch: Any,
    points: Any,
    predicted: Any = None,
    columns: int = 4,
    labels: tuple[str, str] = ("true", "predicted"),
) -> "Figure":
    """Images with points on them, and with predicted ones if given.

    Args:
        batch: images as for `images`.
        points, predicted: (N, P, 2), x and y in pixels; NaN for unknown.
        labels: what the two kinds are called.
    """
    with style():
        pictures = [_array(one) for one in batch]
        columns = max(1, min(columns, len(pictures)))
        rows = math.ceil(len(pictures) / columns)
        figure, axes = _figure(2.4 * columns, 2.4 * rows + 0.3, rows, columns)
        for ax in axes.flat:
            ax.axis("off")
        hollow: dict[str, Any] = {"facecolors": "none", "edgecolors": GOOD}
        marks = [(points, labels[0], hollow)]
        if predicted is not None:
            marks.append((predicted, labels[1], {"color": GUESS, "linewidths": 0}))
        for number, (ax, picture) in enumerate(zip(axes.flat, pictures, strict=False)):
            picture = picture if picture.ndim == 3 else picture[None]
            shown = _unit(picture)
            if len(shown) == 3:
                ax.imshow(shown.transpose(1, 2, 0))
            else:
                ax.imshow(shown[0], cmap="gray", vmin=0, vmax=1)
            for where, label, look in marks:
                places = _array(where[number])
                ax.scatter(places[:, 0], places[:, 1], s=9, label=label, **look)
        if predicted is not None:
            handles, names = axes[0, 0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower center", ncols=2)
        return figure


__all__ = [
    "activations",
    "confusion_matrix",
    "curves",
    "decision_regions",
    "feature_maps",
    "filters",
    "font_families",
    "images",
    "keypoints",
    "style",
]
