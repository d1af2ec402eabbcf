"""The sections of the report that show images, classes, points and layers."""

from typing import Any

import numpy as np

import suiren as torch
from suiren.cli import networks, summary
from suiren.cli.batches import Batches
from suiren.cli.errors import CommandError
from suiren.cli.report import charts, look
from suiren.cli.report.charts import escape
from suiren.cli.runfolder import CLASSIFY, RunConfig
from suiren.cli.training import distances, points_of

MOST_MISTAKES, MOST_FACES, MOST_CONFUSED = 24, 12, 8
SMALL_IMAGE = 64  # up to here pixels are shown as squares, not smoothed

Say = dict[str, str]


def section(title: str, body: str, note: str = "") -> str:
    """One section of the page; `body` is HTML, the others are text."""
    shown = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{shown}{body}</section>"


def legend(entries: list[tuple[str, str]]) -> str:
    """Labels with the colours of their classes."""
    items = "".join(f'<li><i class="{kind}"></i>{escape(label)}</li>' for label, kind in entries)
    return f'<ul class="legend">{items}</ul>'


def _pixels(data: Batches) -> str:
    return " pixels" if data.images.shape[-1] <= SMALL_IMAGE else ""


def _shares(outputs: np.ndarray) -> np.ndarray:
    return torch.softmax(torch.from_numpy(outputs), 1).numpy()  # N, K


# --------------------------------------------------------------------------
# Classes


def confusion_counts(outputs: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Entry (i, j) counts images of class i taken for j."""
    pairs = labels * classes + outputs.argmax(1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def confusion(counts: np.ndarray, classes: list[str], say: Say) -> str:
    """The confusion matrix, and the pairs taken for each other most often."""
    drawing = charts.matrix(counts, classes, say["true"], say["predicted"], say["confusion"])
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED]
    rows = []
    for at in order:
        i, j = divmod(int(at), len(classes))
        if wrong[i, j]:
            text = say["confused_row"].format(true=classes[i], predicted=classes[j])
            rows.append(f'<tr><td>{escape(text)}</td><td class="n">{wrong[i, j]}</td></tr>')
    table = ""
    if rows:
        table = (
            f"<div><h3>{escape(say['confused'])}</h3>"
            f'<div class="table"><table>{"".join(rows)}</table></div></div>'
        )
    wide = ' style="grid-template-columns:minmax(0,1fr)"' if len(classes) > 12 else ""
    body = f'<div class="columns"{wide}><div>{drawing}</div>{table}</div>'
    return section(say["confusion"], body, say["confusion_note"])


def by_class(counts: np.ndarray, classes: list[str], say: Say) -> str:
    """Recall and precision of each class."""
    rows = []
    for i, name in enumerate(classes):
        of_class, named = int(counts[i].sum()), int(counts[:, i].sum())
        cells = [_share_cell(counts[i, i], of_class), _share_cell(counts[i, i], named)]
        rows.append(f'<tr><td>{escape(name)}</td><td class="n" style="width:12%">{of_class:,}</td>'
                    f"{''.join(cells)}</tr>")  # fmt: skip
    head = (
        f'<tr><th>{escape(say["class"])}</th><th>{escape(say["images"])}</th>'
        f"<th>{escape(say['recall'])}</th><th>{escape(say['precision'])}</th></tr>"
    )
    table = f'<div class="table long"><table class="bars">{head}{"".join(rows)}</table></div>'
    return section(say["classes"], table, say["classes_note"])


def _share_cell(right: int, total: int) -> str:
    if not total:
        return '<td class="n">–</td>'
    share = right / total
    bar = f'<span class="bar" style="width:{60 * share:.1f}%"></span>'
    return f'<td class="n">{bar}{100 * share:.1f}%</td>'


def mistakes(outputs: np.ndarray, data: Batches, config: RunConfig, say: Say) -> str:
    """Images of wrong answers, the surest first; without any, those it was least sure of."""
    shares, labels = _shares(outputs), data.labels
    chosen = shares.argmax(1)
    sure = shares[np.arange(len(shares)), chosen]
    wrong = np.flatnonzero(chosen != labels)
    if len(wrong):
        order = wrong[np.argsort(-sure[wrong], kind="stable")][:MOST_MISTAKES]
        note = say["mistakes_note"]
    else:
        order = np.argsort(sure, kind="stable")[: MOST_MISTAKES // 2]
        note = say["no_mistakes"]
    figures = []
    for at in order:
        true, given = config.classes[labels[at]], config.classes[chosen[at]]
        verdict = f"{escape(true)} → <em>{escape(given)}</em>" if true != given else escape(true)
        file = f"<small>{escape(data.names[at])}</small>" if data.names else ""
        figures.append(
            f'<figure><img alt="" src="{look.image_uri(data.images[at])}">{verdict} '
            f"<small>{100 * sure[at]:.1f}%</small>{file}</figure>"
        )
    body = f'<div class="pictures mistakes{_pixels(data)}">{"".join(figures)}</div>'
    return section(say["mistakes"], body, note)


# --------------------------------------------------------------------------
# Points


def faces(outputs: np.ndarray, data: Batches, say: Say) -> str:
    """Test images with their true and their predicted points, from the best to the worst."""
    each = _mean_errors(outputs, data.labels)  # N
    order = [at for at in np.argsort(each, kind="stable") if np.isfinite(each[at])]
    count = min(MOST_FACES, len(order))
    chosen = [order[int(round(i))] for i in np.linspace(0, len(order) - 1, count)]
    found = points_of(outputs)
    figures = []
    for at in chosen:
        size = 100.0
        true, given = data.labels[at] * size, found[at] * size
        radius = 1.1 if len(true) > 30 else 1.7
        marks = []
        for (tx, ty), (gx, gy) in zip(true, given, strict=True):
            if np.isfinite(tx):
                marks.append(f'<line class="between" x1="{tx:.1f}" y1="{ty:.1f}" x2="{gx:.1f}" '
                             f'y2="{gy:.1f}"/><circle class="true-point" cx="{tx:.1f}" '
                             f'cy="{ty:.1f}" r="{radius}" stroke-width="{0.5 * radius}"/>')
            marks.append(f'<circle class="predicted-point" cx="{gx:.1f}" cy="{gy:.1f}" '
                         f'r="{0.8 * radius:.2f}"/>')  # fmt: skip
        name = f"<small>{escape(data.names[at])}</small>" if data.names else ""
        figures.append(
            f'<figure><svg viewBox="0 0 {size:g} {size:g}"><image width="{size:g}" '
            f'height="{size:g}" href="{look.image_uri(data.images[at])}"/>{"".join(marks)}</svg>'
            f"{100 * each[at]:.2f}%{name}</figure>"
        )
    keys = legend([(say["true_points"], "true-mark"), (say["predicted_points"], "predicted-mark")])
    body = f'{keys}<div class="pictures faces">{"".join(figures)}</div>'
    return section(say["faces"], body, say["faces_note"])


def _mean_errors(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean distance in each image, (N,); NaN where no point is known."""
    found = distances(outputs, labels)  # N, P
    known = ~np.isnan(found)
    counts = known.sum(1)
    sums = np.where(known, found, 0).sum(1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def errors(outputs: np.ndarray, labels: np.ndarray, say: Say) -> str:
    """How errors are distributed over images, and over points."""
    each = np.sort(_mean_errors(outputs, labels))
    each = 100 * each[np.isfinite(each)]
    shares = 100 * np.arange(1, len(each) + 1) / len(each)
    if len(each) > 120:
        kept = np.linspace(0, len(each) - 1, 120).astype(int)
        each, shares = each[kept], shares[kept]
    series: list[charts.Series] = [
        (say["test"], "test", [0.0, *each.tolist()], [0.0, *shares.tolist()])
    ]
    curve = charts.lines(series, say["error"], say["distribution"], low=0, high=100)
    found = distances(outputs, labels)
    known = ~np.isnan(found)
    count = np.maximum(known.sum(0), 1)
    radii = np.where(known, found, 0).sum(0) / count  # P
    places = np.where(known[..., None], labels, 0).sum(0) / count[:, None]  # P, 2
    circles = charts.circles(places, radii, say["where"], say["of_side"])
    body = (
        f'<div class="columns"><div><h3>{escape(say["distribution"])}</h3>'
        f'<p class="note">{escape(say["distribution_note"])}</p>{curve}</div>'
        f'<div><h3>{escape(say["where"])}</h3><p class="note">{escape(say["where_note"])}</p>'
        f"{circles}</div></div>"
    )
    return section(say["error"], body)


# --------------------------------------------------------------------------
# The network


def filters(model: Any, config: RunConfig, say: Say) -> str:
    """The weights of the first layer as pictures."""
    found = look.first_filters(model, config)
    if found is None:
        return ""
    name, weights = found
    pictures = look.filter_pictures(weights)
    shape = "x".join(str(size) for size in weights.shape[1:])
    note = say["filters_note"].format(name=name, count=len(weights), shape=shape)
    if weights.shape[1] != 3:
        note += " " + say["filters_sign"]
    if len(pictures) < len(weights):
        note += " " + say["filters_shown"].format(shown=len(pictures))
    images = "".join(f'<img alt="{i}" src="{look.picture_uri(p)}">' for i, p in enumerate(pictures))
    return section(say["filters"], f'<div class="filters">{images}</div>', note)


def maps(model: Any, config: RunConfig, outputs: np.ndarray, data: Batches, say: Say) -> str:
    """What the convolutions give for one test image, one of those it is surest of."""
    if config.task == CLASSIFY:
        shares = _shares(outputs)
        right = np.where(outputs.argmax(1) == data.labels, shares.max(1), 0)
        at = int(right.argmax())
        label = config.classes[data.labels[at]]
    else:
        at = int(np.nan_to_num(_mean_errors(outputs, data.labels), nan=np.inf).argmin())
        label = data.names[at] if data.names else str(at)
    found = look.feature_maps(model, config, data.images[at])
    if not found:
        return ""
    blocks = [
        f'<div class="filters"><img class="map" alt="" src="{look.image_uri(data.images[at])}">'
        "</div>"
    ]
    for name, (channels, height, width), pictures in found:
        title = say["maps_layer"].format(name=name, channels=channels, height=height, width=width)
        images = "".join(
            f'<img class="map" alt="{i}" src="{look.picture_uri(p)}">'
            for i, p in enumerate(pictures)
        )
        blocks.append(f'<h3>{escape(title)}</h3><div class="filters">{images}</div>')
    return section(say["maps"], "".join(blocks), say["maps_note"].format(label=label))


def layers(model: Any, config: RunConfig, say: Say) -> str:
    """Each layer's output size, parameters and multiply-adds."""
    shape = (1, networks.model_channels(config), config.image_size, config.image_size)
    try:
        report = summary.describe(model, [shape])
    except CommandError:
        return ""
    rows = []
    for layer in report["layers"]:
        path = layer["name"].split(".") if layer["name"] else []
        output = layer["output"] or []
        first = output[0] if output and isinstance(output[0], list) else output
        indent = f' style="padding-left:{0.9 * max(0, len(path) - 1):g}em"'
        rows.append(
            f'<tr><td class="name"{indent}>{escape(path[-1] if path else config.model)}</td>'
            f"<td>{escape(layer['type'])}</td>"
            f"<td>{escape('x'.join(str(size) for size in first[1:]))}</td>"
            f'<td class="n">{_count(layer["parameters"])}</td>'
            f'<td class="n">{_count(layer["multiply_adds"])}</td></tr>'
        )
    totals = report["totals"]
    rows.append(
        f'<tr class="sum"><td>{escape(say["total"])}</td><td></td><td></td>'
        f'<td class="n">{totals["parameters"]:,}</td>'
        f'<td class="n">{totals["multiply_adds"]:,}</td></tr>'
    )
    head = (
        f"<tr><th>{escape(say['layer'])}</th><th>{escape(say['type'])}</th>"
        f'<th>{escape(say["output"])}</th><th class="n">{escape(say["parameters"])}</th>'
        f'<th class="n">{escape(say["multiply_adds"])}</th></tr>'
    )
    note = say["memory"].format(
        parameters=_bytes(totals["parameter_bytes"]), outputs=_bytes(totals["output_bytes"])
    )
    table = f'<div class="table long"><table>{head}{"".join(rows)}</table></div>'
    return section(say["layers"], table, note)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
