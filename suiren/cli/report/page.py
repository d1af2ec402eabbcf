"""The whole page: header, figures at a glance, and one section after the other."""

import math
from typing import Any

import numpy as np

from suiren.cli import networks
from suiren.cli.report import charts, parts, texts
from suiren.cli.report.charts import escape
from suiren.cli.report.style import STYLE
from suiren.cli.runfolder import CLASSIFY, Epoch, RunConfig
from suiren.cli.training import Job

_TITLES = {"digits": "UCI digits", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST",
           "cifar10": "CIFAR-10"}  # fmt: skip


def make(job: Job, outputs: np.ndarray, language: str | None = None) -> str:
    """The report on a run as HTML.

    Args:
        job: the run after its last epoch.
        outputs: what the network gives for each test image, (N, K) or (N, 2P).
        language: "en" or "zh"; None for the system's.
    """
    language = texts.choose(language)
    say = texts.TEXTS[language]
    config, labels = job.config, job.test_data.labels
    sections = [_curves(job.history, config, say)]
    if config.task == CLASSIFY:
        counts = parts.confusion_counts(outputs, labels, len(config.classes))
        sections += [
            parts.confusion(counts, config.classes, say),
            parts.mistakes(outputs, job.test_data, config, say),
            parts.by_class(counts, config.classes, say),
        ]
    else:
        sections += [
            parts.faces(outputs, job.test_data, say),
            parts.errors(outputs, labels, say),
        ]
    sections += [
        parts.filters(job.model, config, say),
        parts.maps(job.model, config, outputs, job.test_data, say),
        parts.layers(job.model, config, say),
        _times(job, say),
        _settings(config, say),
    ]
    title = f"{_name(config)} · {config.model}"
    return (
        f'<!doctype html>\n<html lang="{"zh-CN" if language == "zh" else "en"}">\n<head>\n'
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)} – {say['title']}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<header><h1>{escape(title)}</h1><p>{say['title']}</p></header>\n"
        f"{_glance(job, outputs, say)}\n"
        + "\n".join(section for section in sections if section)
        + f"\n<footer>{escape(say['footer'].format(version=config.suiren))}</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def _name(config: RunConfig) -> str:
    if config.folder is None:
        return _TITLES.get(config.data, config.data)
    return config.folder.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def duration(seconds: float, say: dict[str, str]) -> str:
    """A time in the unit that suits it."""
    if seconds < 60:
        return f"{seconds:.1f} {say['seconds']}"
    if seconds < 3600:
        return f"{int(seconds // 60)} {say['minutes']} {int(seconds % 60)} {say['seconds']}"
    return f"{int(seconds // 3600)} {say['hours']} {int(seconds % 3600 // 60)} {say['minutes']}"


def _glance(job: Job, outputs: np.ndarray, say: dict[str, str]) -> str:
    config, last = job.config, job.history[-1]
    if config.task == CLASSIFY:
        best = max(job.history, key=lambda epoch: epoch.test_score)
        right = int((outputs.argmax(1) == job.test_data.labels).sum())
        note = say["right_of"].format(right=f"{right:,}", total=f"{len(outputs):,}")
        label = say["test_accuracy"]
    else:
        best = min(job.history, key=lambda epoch: epoch.test_score)
        note, label = say["of_side"], say["test_error"]
    every = sum(weights.numel() for weights in job.model.parameters())
    trained = sum(w.numel() for w in job.model.parameters() if w.requires_grad)
    seconds = sum(epoch.seconds for epoch in job.history)
    each = duration(seconds / len(job.history), say)
    cards = [
        (label, f"{100 * last.test_score:.2f}%", note),
        (say["best"], str(best.epoch), say["best_note"].format(
            score=f"{100 * best.test_score:.2f}%", epoch=best.epoch)),
        (say["parameters"], f"{every:,}", say["all_trained"] if trained == every
            else say["trained_note"].format(count=f"{trained:,}")),
        (say["time"], duration(seconds, say),
            say["time_note"].format(epochs=len(job.history), each=each)),
    ]  # fmt: skip
    return '<div class="cards">' + "".join(
        f'<div class="card"><span>{escape(label)}</span><b>{escape(value)}</b>'
        f"<span>{escape(note)}</span></div>"
        for label, value, note in cards
    ) + "</div>"  # fmt: skip


def _curves(history: list[Epoch], config: RunConfig, say: dict[str, str]) -> str:
    epochs = [float(epoch.epoch) for epoch in history]
    losses: list[charts.Series] = [
        (say["train"], "train", epochs, [epoch.loss for epoch in history])
    ]
    # Runs of format 1 did not measure it.
    if any(epoch.test_loss for epoch in history):
        losses.append((say["test"], "test", epochs, [epoch.test_loss for epoch in history]))
    percent = [
        (say["train"], "train", epochs, [100 * epoch.train_score for epoch in history]),
        (say["test"], "test", epochs, [100 * epoch.test_score for epoch in history]),
    ]
    keys = parts.legend([(say["train"], "train"), (say["test"], "test")])
    classify = config.task == CLASSIFY
    heading = f"{say['accuracy']}, %" if classify else say["error"]
    drawings = [
        (say["loss"], charts.lines(losses, say["epoch"], say["loss"], low=0, whole=True)),
        (heading, charts.lines(percent, say["epoch"], heading, low=None if classify else 0,
            high=100 if classify else None, whole=True)),
    ]  # fmt: skip
    if config.schedule != "none":
        each = math.ceil(config.train_images / config.batch_size)
        steps = each * config.epochs
        shown = np.unique(np.linspace(0, steps - 1, min(200, steps)).astype(int))
        rates = [config.lr * networks.rate_factor(config, int(step), steps) for step in shown]
        rate: charts.Series = (say["rate"], "rate", [float(s) / each for s in shown], rates)
        drawings.append((say["rate"], charts.lines([rate], say["epoch"], say["rate"], low=0)))
    body = "".join(
        f"<div><h3>{escape(heading)}</h3>{keys if number < 2 else ''}{drawing}</div>"
        for number, (heading, drawing) in enumerate(drawings)
    )
    return parts.section(say["curves"], f'<div class="columns">{body}</div>', say["curves_note"])


def _times(job: Job, say: dict[str, str]) -> str:
    history = job.history
    sizes: list[tuple[str, str, float]] = [
        (say["data_part"], "p1", sum(epoch.data_seconds for epoch in history)),
        (say["train_part"], "p2", sum(epoch.train_seconds for epoch in history)),
        (say["test_part"], "p3", sum(epoch.test_seconds for epoch in history)),
        (say["save_part"], "p4", job.saving_seconds),
    ]
    if not any(size for *_, size in sizes[:3]):
        return ""
    total = sum(size for *_, size in sizes)
    keys = parts.legend([
        (f"{label} {duration(size, say)} ({100 * size / total:.0f}%)", kind)
        for label, kind, size in sizes
    ])  # fmt: skip
    bar = charts.divided(sizes, say["parts"])
    return parts.section(say["parts"], f'<div style="height:8px"></div>{keys}{bar}')


def _settings(config: RunConfig, say: dict[str, str]) -> str:
    source = config.folder or _name(config)
    rows: list[tuple[str, Any]] = [
        (say["data"], source),
        (say["split"], say["split_value"].format(
            train=f"{config.train_images:,}", test=f"{config.test_images:,}")),
        (say["limit"], config.limit),
        (say["image_size"], f"{config.image_size}x{config.image_size}"),
        (say["augment"], say["yes"] if config.augment or config.flip else None),
        (say["model"], config.model),
        (say["pretrained"], config.pretrained),
        (say["frozen"], say["backbone"] if config.freeze else None),
        (say["optimizer"], config.optimizer),
        (say["rate_setting"], f"{config.lr:g}" + (
            f" ({say['backbone']}: {config.backbone_lr:g})" if config.backbone_lr else "")),
        (say["schedule"], config.schedule),
        (say["batch_size"], config.batch_size),
        (say["seed"], config.seed),
    ]  # fmt: skip
    body = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>"
        for label, value in rows
        if value is not None
    )
    return parts.section(say["settings"], f'<dl style="margin-top:12px">{body}</dl>')
