"""The command `suiren`: exact text and exit status, run folders, resuming, and each bad input.

Most tests call `main` in this process on a few tiny images; a signal, a closed pipe and a full
disk need a process of their own.
"""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from suiren.cli import images, pictures, predict, runfolder, training
from suiren.cli.folders import read_folder
from suiren.cli.main import main
from suiren.cli.progress import Reporter
from suiren.vision.datasets import Digits, stratified_split
from suiren.vision.models import get_model, list_models, register_model, small

FILES = ["config.json", "confusion.png", "curves.png", "metrics.csv", "model.pt", "report.html"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def bars(upright: bool, number: int, colour: bool = False, size=(12, 10)) -> Image.Image:
    """A noisy picture of upright or level bars, reproducible from `number`."""
    noise = np.random.default_rng(1000 * upright + number).integers(0, 60, (size[1], size[0], 3))
    if not colour:
        noise[:] = noise[..., :1]
    picture = noise.astype(np.uint8)
    if upright:
        picture[:, ::4] += 180
    else:
        picture[::4] += 180
    if colour:
        picture[..., 0] //= 2
    return Image.fromarray(picture)


def make_folder(place="bars", count=6, colour=False) -> Path:
    """A folder with the classes `level` and `upright`, `count` pictures each."""
    for name in ("level", "upright"):
        (Path(place) / name).mkdir(parents=True)
        for number in range(count):
            picture = bars(name == "upright", number, colour)
            picture.save(Path(place) / name / f"{number:02}.png")
    return Path(place)


SMALL = ["--image-size", "8", "--batch-size", "4"]


def metrics(run) -> list[dict[str, str]]:
    """The rows of metrics.csv without the seconds, which differ from run to run."""
    with open(Path(run) / "metrics.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        for name in [name for name in row if name.endswith("seconds")]:
            assert float(row.pop(name)) >= 0
    return rows


def fails(capsys, command: str, message: str) -> None:
    """`suiren COMMAND` prints `message` as its only line on stderr, and ends with 2."""
    status = main(command.split())
    captured = capsys.readouterr()
    assert captured.err == message + "\n"
    assert status == 2


# --- training on the digits


def test_digits_train_to_a_good_accuracy_and_leave_six_files(capsys):
    assert main(["train", "--epochs", "5"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[:4] == [
        "data: UCI handwritten digits, 1797 images, 10 classes; grayscale, 8x8",
        "split: 1438 images to train on, 359 to test on (one fifth of every class, seed 0)",
        "model: cnn, 9,930 parameters; adam, learning rate 0.003, batch size 64",
        f"run: {Path('runs') / 'digits-1'}",
    ]
    pattern = r"epoch (\d)/5  loss \d+\.\d{4}  train \d\.\d{4}  test \d\.\d{4}  \d+ images/s"
    assert [re.fullmatch(pattern, line).group(1) for line in lines[4:9]] == list("12345")
    assert lines[9] == f"report: {Path('runs/digits-1/report.html')}"
    accuracy = float(re.fullmatch(r"test accuracy (\d\.\d{4})", lines[10]).group(1))
    assert len(lines) == 11
    assert accuracy >= 0.96  # PyTorch gives 0.9833 from the same seed

    run = Path("runs/digits-1")
    assert sorted(path.name for path in run.iterdir()) == FILES
    rows = metrics(run)
    assert (run / "metrics.csv").read_text().startswith(runfolder.HEADER + "\n1,")
    assert [row["epoch"] for row in rows] == list("12345")
    assert float(rows[-1]["test_accuracy"]) == pytest.approx(accuracy, abs=5e-5)
    config = json.loads((run / "config.json").read_text())
    assert (config["model"], config["seed"], config["classes"]) == ("cnn", 0, list("0123456789"))
    for name in ("curves.png", "confusion.png"):
        with Image.open(run / name) as picture:
            assert min(picture.size) > 400

    # The same run recognises digits as pictures: one of the data set, and the same one as a
    # large photograph in dark ink on light paper.
    digit = Digits(train=None).data[0].numpy()  # a zero
    small = Image.fromarray((digit * 15.9375).astype(np.uint8))
    small.save("small.png")
    paper = Image.new("RGB", (300, 400), (230, 225, 210))
    ink = small.resize((200, 200)).convert("L")
    paper.paste((40, 40, 60), (60, 80), ink)
    paper.save("photo.jpg")
    assert main(["predict", str(run), "small.png", "photo.jpg"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"small\.png: 0 (1\.0000|0\.9\d{3})", shown[0])
    assert re.fullmatch(r"photo\.jpg: 0 [01]\.\d{4}", shown[1])


def test_a_new_run_never_takes_an_older_ones_folder(capsys):
    make_folder()
    for _ in range(2):
        assert main(["train", "bars", "--epochs", "1", "--quiet", *SMALL]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["bars-1", "bars-2"]
    assert metrics("runs/bars-1") == metrics("runs/bars-2")
    captured = capsys.readouterr()
    assert re.fullmatch(r"(test accuracy \d\.\d{4}\n){2}", captured.out)
    fails(
        capsys,
        "train bars --out runs/bars-1",
        "suiren train: error: runs/bars-1 is not empty; give another --out, "
        "or go on with --resume runs/bars-1",
    )


def test_every_optimizer_and_model_trains():
    make_folder()
    pairs = [(o, "mlp") for o in ("adagrad", "adam", "adamw", "rmsprop", "sgd")]
    for optimizer, model in [*pairs, ("sgd", "cnn")]:
        out = f"{optimizer}-{model}"
        options = f"--optimizer {optimizer} --model {model} --epochs 1 --quiet --out {out}"
        assert main(["train", "bars", *SMALL, *options.split()]) == 0


# --- training on a folder


def test_a_folder_says_what_it_is_and_names_what_it_skips(capsys):
    make_folder("shapes", count=6, colour=True)
    Path("shapes/level/notes.txt").write_text("not a picture")
    Path("shapes/level/.DS_Store").write_text("passed over")
    whole = Path("shapes/upright/00.png").read_bytes()
    Path("shapes/upright/broken.png").write_bytes(whole[: len(whole) // 2])
    assert main(["train", "shapes", "--epochs", "2", "--out", "out", "--seed", "3", *SMALL]) == 0
    captured = capsys.readouterr()
    skipped = captured.err.splitlines()
    assert skipped[0] == f"skipped {Path('shapes/level/notes.txt')}: not an image"
    assert skipped[1].startswith(f"skipped {Path('shapes/upright/broken.png')}: ")
    assert len(skipped) == 2
    lines = captured.out.splitlines()
    assert lines[:4] == [
        "data: shapes, 12 images, 2 classes; colour (12 of 12 have colour), "
        "resized and padded to 8x8",
        "split: 10 images to train on, 2 to test on (one fifth of every class, seed 3)",
        "model: cnn, 6,114 parameters; adam, learning rate 0.003, batch size 4",
        "run: out",
    ]
    assert sorted(path.name for path in Path("out").iterdir()) == FILES

    assert main(["predict", "out", "--top", "9", "shapes/level/00.png", "shapes"]) == 0
    captured = capsys.readouterr()
    numbers = re.fullmatch(
        r"shapes/level/00\.png: (?:level|upright) (\d\.\d{4}), (?:level|upright) (\d\.\d{4})\n",
        captured.out,
    )
    assert float(numbers.group(1)) + float(numbers.group(2)) == pytest.approx(1, abs=2e-4)
    assert captured.err == "skipped shapes: is a folder\n"


def read(place) -> tuple[np.ndarray, str]:
    """The pictures of a folder at 8 pixels, and the description."""
    found = read_folder(Path(place), 8, pytest.fail, lambda done, total: None)
    return found.images, found.description


def test_every_mode_of_one_picture_gives_the_same_pixels():
    grey = Image.fromarray(np.tile(np.arange(8, dtype=np.uint8) * 30, (8, 1)))
    folder = Path("modes/a")
    folder.mkdir(parents=True)
    Path("modes/b").mkdir()
    for number in range(2):
        grey.save(f"modes/b/{number}.png")
    values = np.asarray(grey)
    grey.save(folder / "grey.png")
    grey.convert("RGB").save(folder / "rgb.bmp")
    grey.convert("RGBA").save(folder / "rgba.png")
    grey.convert("LA").save(folder / "la.png")
    grey.convert("P").save(folder / "palette.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(folder / "sixteen.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(folder / "sixteen.tiff")
    Image.fromarray(values.astype(np.float32) / 255).save(folder / "float.tiff")
    turned = Image.Exif()
    turned[0x112] = 6  # stored turned by a quarter
    grey.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=turned)
    pictures_read, description = read("modes")
    assert description.startswith("modes, 11 images, 2 classes; grayscale (none has colour)")
    assert pictures_read.shape == (11, 1, 8, 8)
    for picture in pictures_read:
        np.testing.assert_allclose(picture[0], values, atol=1)


def test_transparency_is_white_and_padding_is_the_borders_colour():
    see_through = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    see_through.save("clear.png")
    pixels = images.fit(images.open_rgb(Path("clear.png"), 8), 8)
    assert (pixels == 255).all()
    wide = Image.new("RGB", (16, 4), (10, 200, 30))
    assert (images.fit(wide, 8) == (10, 200, 30)).all()
    assert images.fit(Image.new("RGB", (1, 1000)), 8).shape == (8, 8, 3)


def test_colour_is_kept_when_one_picture_has_it():
    make_folder("mixed", count=3)
    Image.new("RGB", (9, 9), (200, 30, 30)).save("mixed/level/red.png")
    found, description = read("mixed")
    assert found.shape == (7, 3, 8, 8)
    assert "colour (1 of 7 have colour)" in description


# --- interrupting and resuming


def interrupt_in_epoch(monkeypatch, epoch: int, number: int) -> None:
    """Send this process the signal `number` after the first batch of `epoch`."""
    state = {"epoch": 0, "sent": False}
    start, advance = Reporter.start, Reporter.advance

    def noting_start(self, what, total):
        found = re.match(r"epoch +(\d+)/", what)
        state["epoch"] = int(found.group(1)) if found else 0
        start(self, what, total)

    def sending_advance(self, done, note=""):
        advance(self, done, note)
        if state["epoch"] == epoch and not state["sent"]:
            state["sent"] = True
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Reporter, "start", noting_start)
    monkeypatch.setattr(Reporter, "advance", sending_advance)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to oneself")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_resumed_run_equals_an_uninterrupted_one(capsys, monkeypatch, number):
    make_folder()
    arguments = ["train", "bars", "--epochs", "4", *SMALL]
    assert main([*arguments, "--out", "whole"]) == 0
    whole_lines = capsys.readouterr().out.splitlines()

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 3, number)
        assert main([*arguments, "--out", "broken off"]) == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert capsys.readouterr().err == (
        "interrupted: epoch 2 of 4 is kept; go on with: suiren train --resume 'broken off'\n"
    )
    assert metrics("broken off") == metrics("whole")[:2]
    kept = ["config.json", "metrics.csv", "model.pt"]
    assert sorted(p.name for p in Path("broken off").iterdir()) == kept

    assert main(["train", "--resume", "broken off"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == whole_lines[0].replace("data: bars", f"data: {Path('bars').resolve()}")
    assert lines[1:3] == whole_lines[1:3]
    assert lines[3:5] == ["run: broken off", "resuming after epoch 2"]
    assert lines[-1] == whole_lines[-1]
    assert metrics("broken off") == metrics("whole")
    whole, resumed = (runfolder.read_checkpoint(Path(run)) for run in ("whole", "broken off"))
    for name, weights in whole["model"].items():
        np.testing.assert_array_equal(weights.numpy(), resumed["model"][name].numpy())
    np.testing.assert_array_equal(whole["random_state"].numpy(), resumed["random_state"].numpy())
    assert Path("broken off/config.json").read_bytes() == Path("whole/config.json").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to oneself")
def test_an_interrupt_in_the_first_epoch_can_be_resumed_too(capsys, monkeypatch):
    make_folder()
    assert main(["train", "bars", "--epochs", "2", "--out", "whole", *SMALL]) == 0
    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 1, signal.SIGINT)
        assert main(["train", "bars", "--epochs", "2", "--out", "early", *SMALL]) == 130
    assert capsys.readouterr().err == (
        "interrupted before the first epoch was complete; go on with: suiren train --resume early\n"
    )
    fails(
        capsys,
        "predict early x.png",
        "suiren predict: error: early has not completed an epoch yet; "
        "train it with: suiren train --resume early",
    )
    assert main(["train", "--resume", "early"]) == 0
    assert metrics("early") == metrics("whole")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to oneself")
def test_an_interrupt_while_reading_keeps_nothing(capsys, monkeypatch):
    make_folder()

    def stop(self, done, note=""):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Reporter, "advance", stop)
    assert main(["train", "bars", *SMALL]) == 130
    assert capsys.readouterr().err == "interrupted before training began; nothing was kept\n"
    assert not Path("runs").exists()


def test_a_complete_run_says_so_and_more_epochs_extend_it(capsys):
    make_folder()
    assert main(["train", "bars", "--epochs", "3", "--out", "long", *SMALL]) == 0
    assert main(["train", "bars", "--epochs", "2", "--out", "short", *SMALL]) == 0
    accuracy = capsys.readouterr().out.splitlines()[-1]
    assert main(["train", "--resume", "short"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "short is complete: 2 epochs; go on with a larger --epochs",
        f"report: {Path('short/report.html')}",
        accuracy,
    ]
    assert main(["train", "--resume", "short", "--epochs", "3"]) == 0
    assert metrics("short") == metrics("long")
    assert Path("short/config.json").read_bytes() == Path("long/config.json").read_bytes()


def test_a_row_that_the_model_does_not_know_is_dropped():
    """A power cut between the writes of metrics.csv and model.pt leaves one row too many."""
    make_folder()
    assert main(["train", "bars", "--epochs", "1", "--out", "run", *SMALL]) == 0
    with open("run/metrics.csv", "a") as stream:
        stream.write("2,0.5,0.5,0.5,1.0\n")
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert main(["train", "bars", "--epochs", "2", "--out", "whole", *SMALL]) == 0
    assert metrics("run") == metrics("whole")


def test_resuming_refuses_what_conflicts(capsys):
    folder = make_folder()
    assert main(["train", "bars", "--epochs", "2", "--out", "run", "--quiet", *SMALL]) == 0
    capsys.readouterr()
    keeps = "; a resumed run keeps its settings, only --epochs may grow"
    for option, value, has in [
        ("--model", "mlp", "cnn"),
        ("--batch-size", "8", "4"),
        ("--lr", "0.5", "0.003"),
        ("--optimizer", "sgd", "adam"),
        ("--image-size", "9", "8"),
        ("--seed", "1", "0"),
    ]:
        fails(
            capsys,
            f"train --resume run {option} {value}",
            f"suiren train: error: {option} {value} conflicts with run, which has {has}{keeps}",
        )
    fails(
        capsys,
        "train --resume run --epochs 1",
        "suiren train: error: --epochs 1 is fewer than the 2 of run; a resumed run may only grow",
    )
    fails(
        capsys,
        "train --resume run --out other",
        "suiren train: error: --out and --resume name different run folders; give only --resume",
    )
    # The same values said again are no conflict, nor is a folder that was moved.
    folder.rename("moved")
    assert main("train moved --resume run --model cnn --seed 0 --epochs 3".split()) == 0
    capsys.readouterr()
    bars(True, 99).save("moved/upright/99.png")
    fails(
        capsys,
        "train --resume run",
        f"suiren train: error: the images of {Path('moved').resolve()} are not those that run "
        "began with, so it cannot be resumed; start a new run",
    )


# --- bad input


def test_bad_options_are_one_line(capsys):
    see = "(see suiren train --help)"
    for option, value, rule in [
        ("--epochs", "-3", "must be at least 1, got -3"),
        ("--epochs", "0", "must be at least 1, got 0"),
        ("--epochs", "two", "must be a whole number, got 'two'"),
        ("--batch-size", "0", "must be at least 1, got 0"),
        ("--lr", "0", "must be a positive number, got '0'"),
        ("--lr", "nan", "must be a positive number, got 'nan'"),
        ("--image-size", "3", "must be at least 4, got 3"),
        ("--image-size", "1000000", "must be at most 512, got 1000000"),
        ("--seed", "-1", "must be at least 0, got -1"),
        (
            "--model",
            "resnet",
            "there is no model 'resnet'; choose from cnn, cnn4, mlp or a model of suiren.vision "
            "such as resnet50, resnet34, resnet18",
        ),
        (
            "--optimizer",
            "newton",
            "there is no optimizer 'newton'; choose from adagrad, adam, adamw, rmsprop, sgd",
        ),
    ]:
        message = f"suiren train: error: argument {option}: {rule} {see}"
        fails(capsys, f"train {option} {value}", message)
    fails(
        capsys,
        "",
        "suiren: error: no command given: use train, predict, run, summary, bench or info "
        "(see suiren --help)",
    )
    assert not Path("runs").exists()


def test_bad_folders_are_one_line(capsys):
    Path("file").write_text("")
    Path("one/only").mkdir(parents=True)
    Path("two/a").mkdir(parents=True)
    Path("two/b").mkdir()
    error = "suiren train: error:"
    fails(capsys, "train missing", f"{error} there is no folder missing")
    fails(
        capsys,
        "train file",
        f"{error} file is not a folder; give one with a sub-folder for each class",
    )
    fails(capsys, "train two/a", f"{error} two/a has no sub-folders; it needs one for each class")
    fails(
        capsys,
        "train one",
        f"{error} one has one class, 'only'; at least two sub-folders are needed",
    )
    fails(capsys, "train two", f"{error} class 'a' is empty: two/a has no images")
    for number in range(2):
        bars(True, number).save(f"two/a/{number}.png")
    bars(True, 0).save("two/b/0.png")
    fails(
        capsys,
        "train two",
        f"{error} class 'b' has one image in two/b; one to train on and one to test are needed",
    )
    Path("two/b/0.png").write_text("not a picture")
    assert main(["train", "two"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "skipped two/b/0.png: not an image",
        f"{error} class 'b' is empty: none of the 1 files in two/b is a readable image",
    ]
    fails(capsys, "train two --out file", f"{error} --out file is a file; give a new folder")
    assert not Path("runs").exists()


def test_bad_images_to_predict(capsys):
    make_folder()
    assert main(["train", "bars", "--epochs", "1", "--out", "run", "--quiet", *SMALL]) == 0
    capsys.readouterr()
    error = "suiren predict: error:"
    fails(capsys, "predict run gone.png", f"{error} cannot read gone.png: no such file")
    fails(capsys, "predict run bars", f"{error} cannot read bars: is a folder")
    assert main(["predict", "run", "gone.png", "bars"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "skipped gone.png: no such file",
        "skipped bars: is a folder",
        f"{error} none of the 2 images could be read",
    ]
    fails(
        capsys,
        "predict run --top 0 x.png",
        f"{error} argument --top: must be at least 1, got 0 (see suiren predict --help)",
    )


def test_damaged_run_folders_are_one_line(capsys):
    make_folder()
    assert main(["train", "bars", "--epochs", "1", "--out", "run", "--quiet", *SMALL]) == 0
    capsys.readouterr()
    Path("empty").mkdir()
    for command in ("predict {} bars/level/00.png", "train --resume {}"):
        name = command.split()[0]
        error = f"suiren {name}: error:"
        fails(capsys, command.format("gone"), f"{error} there is no run folder gone")
        fails(
            capsys,
            command.format("empty"),
            f"{error} empty is not a run folder: it has no config.json",
        )

        def damaged(file, content, start, command=command, error=error):
            good = Path("run", file).read_bytes()
            Path("run", file).write_bytes(content(good))
            assert main(command.format("run").split()) == 2
            message = capsys.readouterr().err
            assert message.startswith(f"{error} {start}")
            assert message.count("\n") == 1
            Path("run", file).write_bytes(good)

        for content in (b"", b"{", b"[]", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000):
            damaged("config.json", lambda good, c=content: c, "run/config.json is damaged: ")
        damaged(
            "config.json",
            lambda good: good.replace(b'"format": 2', b'"format": 99'),
            "run/config.json was written by a newer suiren",
        )
        for old, new in [
            (b'"cnn"', b'"vgg"'),
            (b'"image_size": 8', b'"image_size": 99999999'),
            (b'"channels": 1', b'"channels": 3'),
            (b'"seed": 0', b'"seed": "x"'),
        ]:
            damaged(
                "config.json",
                lambda good, old=old, new=new: good.replace(old, new),
                "run/config.json is damaged: ",
            )
        for content in (lambda g: b"", lambda g: g[: len(g) // 2], lambda g: b"junk" * 50):
            damaged("model.pt", content, "run/model.pt is damaged: ")
        damaged(
            "config.json",
            lambda good: good.replace(b'"cnn"', b'"mlp"'),
            "run/model.pt is damaged or of another model: ",
        )
    for content in (
        lambda good: b"",
        lambda good: b"\xff\xff",
        lambda good: good.splitlines(True)[0],
        lambda good: good.replace(b"\n1,", b"\n7,"),
        lambda good: good.replace(b"\n1,", b"\n1,x"),
    ):
        damaged("metrics.csv", content, "run/metrics.csv is damaged")
    Path("run/model.pt").unlink()
    fails(
        capsys,
        "train --resume run",
        "suiren train: error: run is not a complete run folder: it has no model.pt",
    )


def test_a_loss_that_is_not_finite_stops_training(capsys):
    make_folder()
    command = "train bars --out run --quiet --optimizer sgd --lr 1e30 --model mlp --epochs 9"
    assert main([*command.split(), *SMALL]) == 2
    message = capsys.readouterr().err
    assert re.fullmatch(
        r"suiren train: error: (the loss became (nan|inf)|a weight became infinite) in epoch 1, "
        r"so training stopped \(no epoch was complete in run\); try a --lr below 1e\+30\n",
        message,
    )


# --- a process of its own


def start(*arguments, **settings) -> subprocess.Popen:
    """`python -m suiren ARGUMENTS` with pipes for its output."""
    settings.setdefault("stdout", subprocess.PIPE)
    if os.name != "nt":
        # Started in the background by a shell, the tests would hand on that SIGINT is ignored.
        settings["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    package = str(Path(runfolder.__file__).parents[2])
    paths = os.environ.get("PYTHONPATH")
    search = os.pathsep.join([package, paths]) if paths else package
    return subprocess.Popen(
        [sys.executable, "-m", "suiren", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": search},
        **settings,
    )


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for another process on Windows")
def test_ctrl_c_in_a_terminal_ends_with_130():
    make_folder()
    process = start("train", "bars", "--epochs", "100000", *SMALL)
    for line in process.stdout:
        if line.startswith("epoch      2/"):
            break
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(
        r"interrupted: epoch \d+ of 100000 is kept; "
        r"go on with: suiren train --resume runs/bars-1\n",
        message,
    )
    kept = int(re.search(r"epoch (\d+)", message).group(1))
    assert len(metrics("runs/bars-1")) == kept >= 2


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_closed_pipe_is_no_traceback():
    make_folder()
    process = start("train", "bars", "--epochs", "100000", *SMALL)
    process.stdout.readline()
    process.stdout.close()
    message = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert message.startswith("the output was closed")
    assert message.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_output_is_no_traceback():
    with open("/dev/full", "w") as full:
        process = start("info", stdout=full)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 2
    no_space = os.strerror(28)
    assert message == f"suiren info: error: cannot write the output: {no_space}\n"


def test_a_write_that_fails_leaves_the_old_file(capsys, monkeypatch):
    Path("place").mkdir()
    runfolder.write_atomically(Path("place/file"), b"old")

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    make_folder()
    fails(
        capsys,
        "train bars --image-size 8 --out run",
        f"suiren train: error: cannot write run/config.json: {os.strerror(28)}",
    )
    with pytest.raises(Exception, match="cannot write"):
        runfolder.write_atomically(Path("place/file"), b"new")
    assert [path.read_bytes() for path in Path("place").iterdir()] == [b"old"]


# --- the rest


def test_info_lists_what_is_installed(capsys):
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["suiren", "python", "numpy", "llvmlite", "cpu", "features", "threads", "tier",
                     "cache", "weights"]  # fmt: skip
    assert lines[2].split()[1] == np.__version__


def test_help_and_version(capsys):
    for command in ("--help", "train --help", "predict --help", "info --help", "--version"):
        assert main(command.split()) == 0
        captured = capsys.readouterr()
        assert captured.out
        assert not captured.err


def test_a_terminal_gets_a_live_bar_and_the_same_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    make_folder()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["train", "bars", "--epochs", "2", "--out", "run", *SMALL]) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "data: bars, 12 images" in shown
    assert re.search(r"epoch 2/2  loss \d\.\d{4}", shown)
    assert "\x1b[?25l" in terminal.getvalue()  # the cursor is hidden while the bar lives
    assert re.search(r"test accuracy \d\.\d{4}\n$", shown)


def test_plots_take_any_class_names_and_numbers(capfd):
    history = [runfolder.Epoch(1, 0.5, 1.0, 1.0, 0.1)]
    for names in (
        ["a$b$", "_{^"],
        ["\u732b", "\u72ac", "\udcff"],
        [f"class {i}" for i in range(130)],
    ):
        counts = np.eye(len(names), dtype=np.int64)
        for content in (pictures.draw_confusion(counts, names), pictures.draw_curves(history)):
            with Image.open(io.BytesIO(content)) as picture:
                assert picture.format == "PNG"
    assert capfd.readouterr().err == ""


def test_a_digit_is_found_in_either_polarity_and_anywhere():
    picture = np.full((200, 300), 220, dtype=np.uint8)
    picture[40:160, 140:152] = 30  # a one, dark on light
    dark_on_light = Image.fromarray(picture).convert("RGB")
    light_on_dark = Image.fromarray(255 - picture).convert("RGB")
    pixels = predict.digit_pixels(dark_on_light)
    np.testing.assert_array_equal(pixels, predict.digit_pixels(light_on_dark))
    assert (pixels[:, :3] == 0).all() and (pixels[:, 5:] == 0).all()
    assert (pixels[:, 3:5] > 100).all()
    blank = Image.new("RGB", (50, 50), (128, 128, 128))
    assert (predict.digit_pixels(blank) == 0).all()


def test_digits_are_the_ucis():
    digits = Digits(train=None)
    assert digits.data.shape == (1797, 8, 8)
    assert int(digits.data.max()) == 16
    counts = np.bincount(digits.targets.numpy()).tolist()
    assert counts == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    image, label = digits[0]
    assert image.shape == (1, 8, 8) and label == 0
    assert float(image.sum()) == 294 / 16
    assert len(Digits(train=True)) + len(Digits(train=False)) == 1797
    assert repr(Digits(train=False)) == (
        "Dataset Digits\n    Number of datapoints: 359\n    Split: test"
    )


def test_the_split_is_stratified_and_depends_on_the_seed():
    labels = [0] * 10 + [1] * 3 + [2] * 2
    train, test = stratified_split(labels, 0.2, seed=0)
    assert sorted(train + test) == list(range(15))
    assert [sum(labels[i] == label for i in test) for label in range(3)] == [2, 1, 1]
    assert (train, test) == stratified_split(labels, 0.2, seed=0)
    assert stratified_split(labels, 0.2, seed=0) != stratified_split(labels, 0.2, seed=1)
    with pytest.raises(ValueError, match="a single example of class 1"):
        stratified_split([0, 0, 1])
    with pytest.raises(ValueError, match="test_fraction=1.5"):
        stratified_split([0, 0, 1, 1], 1.5)


def test_models_have_names():
    assert list_models(small) == ["cnn", "cnn4", "mlp"]
    with pytest.raises(ValueError, match="Unknown model 'vgg'; there are alexnet, cnn, cnn4, "):
        get_model("vgg")
    with pytest.raises(ValueError, match="already registered"):
        register_model("cnn")(get_model)
    for name in list_models(small):
        for size in (4, 9, 33):
            model = get_model(name, channels=3, image_size=size, num_classes=5)
            batch = training.torch.zeros(2, 3, size, size)
            assert model(batch).shape == (2, 5)
