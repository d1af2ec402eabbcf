"""The report of a run: well-formed, self-contained, in both languages, with the right numbers."""

import base64
import html.parser
import io
import re
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import suiren as torch
from suiren.cli import report, runfolder
from suiren.cli.batches import Batches
from suiren.cli.report import charts, look, texts
from suiren.cli.runfolder import Epoch, RunConfig
from suiren.cli.training import Job
from suiren.trace import program
from suiren.vision.models import CNN4, MLP, SmallCNN

VOID = {"meta", "img", "br", "image", "link", "input"}


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setattr(program, "COMPILE_AT", float("inf"))


class Page(html.parser.HTMLParser):
    """Checks that tags are closed in order, and keeps headings, addresses and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for n, v in attributes if n in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.addresses += [v for n, v in attributes if n in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def config(**changes) -> RunConfig:
    settings = dict(
        format=2, suiren="0.1", folder=None, digest="", model="cnn", epochs=2, batch_size=4,
        lr=0.01, optimizer="adam", image_size=8, seed=0, channels=1, classes=["cat", "<b>", "狗"],
        train_images=8, test_images=6, mean=[0.5], std=[0.2], data="digits",
    )  # fmt: skip
    return RunConfig(**{**settings, **changes})


HISTORY = [
    Epoch(1, 1.5, 0.4, 0.5, 3.0, 1.2, 0.01, 0.1, 2.5, 0.4),
    Epoch(2, 0.5, 0.8, 4 / 6, 3.0, 0.7, 0.01, 0.1, 2.5, 0.4),
]


def job(settings: RunConfig, model, labels, names=None) -> Job:
    channels, side = settings.channels, settings.image_size
    images = np.random.default_rng(0).integers(0, 255, (len(labels), channels, side, side))
    data = Batches(images.astype(np.uint8), labels, names=names)
    return Job(Path("run"), settings, data, data, model, None, HISTORY, saving_seconds=0.2)


def classifying(**changes) -> tuple[Job, np.ndarray]:
    """A run with three classes, and outputs that get four of six images right."""
    settings = config(**changes)
    labels = np.array([0, 0, 1, 1, 2, 2])
    outputs = 4 * np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2, 1]]
    return job(settings, SmallCNN(settings.channels, 8, 3), labels), outputs


def pictures(page: Page) -> list[Image.Image]:
    found = []
    for address in page.addresses:
        kind, _, data = address.partition(",")
        assert kind == "data:image/png;base64"
        found.append(Image.open(io.BytesIO(base64.b64decode(data))))
    return found


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_of_classes_has_every_section_and_needs_nothing_else(language):
    page = Page(report.make(*classifying(), language))
    say = texts.TEXTS[language]
    names = ("curves", "confusion", "mistakes", "classes", "filters", "maps", "layers", "parts",
             "settings")  # fmt: skip
    assert page.headings == [say[name] for name in names]
    assert "66.67%" in page.text and "<b>" in page.text and "狗" in page.text
    assert say["right_of"].format(right="4", total="6") in page.text
    # Two mistakes, 16 filters, the image and 16 maps of each of two convolutions.
    shown = pictures(page)
    assert len(shown) == 2 + 16 + 1 + 2 * 16
    assert shown[0].size == (8, 8)


def test_nothing_on_the_page_points_elsewhere():
    text = report.make(*classifying(folder="/somewhere/猫 & 狗", data="folder"), "en")
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "http" not in text and "<script" not in text and "@import" not in text
    assert "猫 &amp; 狗" in text


def test_every_chart_is_xml():
    text = report.make(*classifying(schedule="onecycle"), "zh")
    found = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(found) == 5  # three curves, the matrix, the times
    for chart in found:
        xml.etree.ElementTree.fromstring(chart)


def test_a_run_without_mistakes_shows_what_it_was_least_sure_of():
    run, outputs = classifying()
    outputs = np.eye(3, dtype=np.float32)[run.test_data.labels] * 3
    page = Page(report.make(run, outputs, "en"))
    assert texts.ENGLISH["no_mistakes"] in page.text
    assert texts.ENGLISH["confused"] not in page.text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_of_points_shows_them_on_the_images(language):
    settings = config(task="keypoints", points=4, classes=[], data="folder", folder="/x/faces")
    labels = np.random.default_rng(1).random((6, 4, 2)).astype(np.float32)
    labels[2, 1] = np.nan
    run = job(settings, CNN4(1, 8, 8), labels, names=[f"{i}.jpg" for i in range(6)])
    outputs = np.nan_to_num(2 * labels - 1).reshape(6, 8) + np.float32(0.1)
    page = Page(text := report.make(run, outputs, language))
    say = texts.TEXTS[language]
    assert say["faces"] in page.headings and say["error"] in page.headings
    assert say["confusion"] not in page.headings
    assert text.count('class="predicted-point"') == 24
    assert text.count('class="true-point"') == 23  # one is not known
    assert "3.jpg" in page.text
    assert "7.07%" in page.text  # 0.1 of half a side, across and down


def test_models_without_convolutions_and_many_classes_have_a_page_too():
    names = [f"class {i}" for i in range(80)]
    settings = config(model="mlp", classes=names)
    labels = np.arange(80)
    run = job(settings, MLP(1, 8, 80), labels)
    outputs = np.roll(np.eye(80, dtype=np.float32), 1, axis=1)
    page = Page(report.make(run, outputs, "en"))
    assert texts.ENGLISH["filters"] in page.headings
    assert texts.ENGLISH["maps"] not in page.headings


def test_runs_of_the_first_format_have_a_page():
    run, outputs = classifying()
    run.history = [Epoch(1, 0.5, 0.5, 0.5, 1.0)]
    page = Page(report.make(run, outputs, "en"))
    assert texts.ENGLISH["parts"] not in page.headings


def test_the_language_is_the_systems(monkeypatch):
    assert texts.choose("zh") == "zh"
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for value, language in [("zh_CN.UTF-8", "zh"), ("zh_TW", "zh"), ("de_DE", "en"), ("C", "en")]:
        monkeypatch.setenv("LANG", value)
        assert texts.choose(None) == language
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert texts.choose(None) == "en"


def test_both_languages_say_the_same_things():
    assert texts.ENGLISH.keys() == texts.CHINESE.keys()
    for key, text in texts.ENGLISH.items():
        holes = re.findall(r"\{(\w+)\}", text)
        assert sorted(holes) == sorted(re.findall(r"\{(\w+)\}", texts.CHINESE[key])), key


def test_ticks_are_round_and_inside():
    assert charts.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.ticks(97.1, 99.4) == [97.5, 98, 98.5, 99]
    assert charts.ticks(3, 3) == [3]
    assert [charts.number(v) for v in (0, 0.0005, 12345, 1e-9, 1e7)] == [
        "0", "0.0005", "1.234e+04", "1e-9", "1e7"
    ] or charts.number(12345) == "1.234e+04"  # fmt: skip


def test_painted_numbers_have_their_sign_and_order():
    painted = look.painted(np.array([[-2.0, 0.0, 1.0, np.nan]]), signed=True)
    assert tuple(painted[0, 0]) == (33, 102, 172)  # the largest is blue, as it is negative
    assert tuple(painted[0, 1]) == tuple(painted[0, 3]) == (247, 247, 247)
    assert painted[0, 2, 0] > painted[0, 2, 2]
    flat = look.painted(np.zeros((2, 2)), signed=False)
    assert (flat == flat[0, 0]).all()


def test_a_module_shows_itself_in_notebooks():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    page = Page(model._repr_html_())
    assert "Linear" in page.text and "in_features=2, out_features=3, bias=True" in page.text
    assert page.words[-1] == "9"
    assert "Linear(in_features=2" in repr(model)
    assert "?" in Page(torch.nn.LazyLinear(3)._repr_html_()).text
    assert runfolder.REPORT == "report.html"
