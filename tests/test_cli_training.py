"""`suiren train` and `predict` beyond the basics: data sets, split folders, transfer, points.

All on a few tiny images, one or two epochs. What holds for every run is in test_cli.py.
"""

import csv
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import suiren as torch
from suiren.cli import networks, runfolder
from suiren.cli.batches import Batches
from suiren.cli.main import main
from suiren.cli.marked import from_square, to_square
from suiren.cli.training import loss_of, points_of
from suiren.trace import program
from suiren.vision.models import CNN4, resnet18

SMALL = ["--image-size", "8", "--batch-size", "4", "--epochs", "1", "--language", "en"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # One or two steps do not pay for a compiler; test_cli.py trains with it.
    monkeypatch.setattr(program, "COMPILE_AT", float("inf"))


def noise(number: int, side=8, colour=False) -> np.ndarray:
    """A reproducible picture."""
    shape = (side, side, 3) if colour else (side, side)
    return np.random.default_rng(number).integers(0, 255, shape).astype(np.uint8)


def class_folder(place, classes=("dark", "light"), count=5, colour=False) -> Path:
    """A folder for each class: noise, each class brighter than the one before."""
    for level, name in enumerate(classes):
        (Path(place) / name).mkdir(parents=True)
        for number in range(count):
            picture = noise(100 * level + number, colour=colour) // 3 + 80 * level
            Image.fromarray(picture).save(Path(place) / name / f"{number}.png")
    return Path(place)


def points_folder(place="faces", count=10, points=3) -> tuple[Path, Path]:
    """Images of differing sizes with white spots, and the table of the spots."""
    folder = Path(place)
    folder.mkdir()
    rows = []
    for number in range(count):
        width, height = 20 + number % 5, 16 + number % 7
        picture = np.zeros((height, width), np.uint8)
        random = np.random.default_rng(number)
        where = random.integers(2, [width - 2, height - 2], (points, 2))
        picture[where[:, 1], where[:, 0]] = 255
        Image.fromarray(picture).save(folder / f"{number}.png")
        rows.append([f"{number}.png", *where.ravel().tolist()])
    table = Path(f"{place}.csv")
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([["", *range(2 * points)], *rows])
    return folder, table


def idx_files(folder, train=40, test=10) -> None:
    """Files in MNIST's format, with noise."""
    Path(folder).mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        images = np.stack([noise(i, 28) for i in range(count)])
        labels = (np.arange(count) % 10).astype(np.uint8)
        head = b"\0\0\x08\x03" + struct.pack(">3I", count, 28, 28)
        (Path(folder) / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = b"\0\0\x08\x01" + struct.pack(">I", count)
        (Path(folder) / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def fails(capsys, command: str, message: str) -> None:
    """`suiren COMMAND` prints `message` as its only line on stderr, and ends with 2."""
    assert main(command.split()) == 2
    assert capsys.readouterr().err == message + "\n"


def weights(run) -> dict:
    return runfolder.read_checkpoint(Path(run))["model"]


# --- data


@pytest.mark.parametrize("place", ["data/MNIST/raw", "data/mnist/MNIST/raw", "data"])
def test_mnist_is_found_where_its_files_lie(capsys, place):
    idx_files(place)
    assert main(["train", "mnist", "--epochs", "1", "--limit", "20", "--model", "mlp"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "data: MNIST, 20 images to train on and 10 to test on, 10 classes; grayscale, 28x28"
    )
    assert "mlp" in lines[1] and "onecycle" in lines[1]
    assert lines[2] == f"run: {Path('runs/mnist-1')}"
    config = runfolder.read_config(Path("runs/mnist-1"))
    assert (config.data, config.folder, config.limit) == ("mnist", None, 20)
    assert (config.train_images, config.test_images) == (20, 10)


def test_named_data_trains_cnn4_and_predicts_pictures_of_digits(capsys):
    idx_files("data/FashionMNIST/raw", 20, 10)
    idx_files("data/MNIST/raw", 20, 10)
    for name, more in (("mnist", []), ("fashion-mnist", ["--model", "mlp"])):
        assert main(["train", name, "--epochs", "1", "--out", name, "--quiet", *more]) == 0
    assert runfolder.read_config(Path("mnist")).model == "cnn4"
    ink = np.full((60, 50, 3), 240, np.uint8)
    ink[10:50, 20:28] = 20
    Image.fromarray(ink).save("one.png")
    capsys.readouterr()
    assert main(["predict", "mnist", "one.png"]) == 0
    assert capsys.readouterr().out.startswith("one.png: ")
    assert main(["predict", "fashion-mnist", "one.png", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["classes"][0]["class"] in runfolder.read_config(Path("fashion-mnist")).classes


def test_data_that_is_not_there_or_damaged_is_one_line(capsys, monkeypatch):
    from suiren.vision.datasets import mnist

    def no_network(*arguments, **settings):
        raise RuntimeError("cannot download: no network")

    monkeypatch.setattr(mnist, "download_from", no_network)
    error = "suiren train: error:"
    root = Path("data").resolve()
    fails(
        capsys,
        "train mnist",
        f"{error} cannot read MNIST from {root}: cannot download: no network; --data-root says "
        "where its files are",
    )
    idx_files("bad/MNIST/raw")
    Path("bad/MNIST/raw/train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03junk")
    assert main(["train", "mnist", "--data-root", "bad"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"{error} cannot read MNIST") and message.count("\n") == 1
    assert not Path("runs").exists()


def test_a_divided_folder_keeps_its_division(capsys):
    class_folder("photos/train", count=5)
    class_folder("photos/val", count=3)
    assert main(["train", "photos", "--out", "run", "--model", "mlp", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "data: photos, 10 images in train and 6 in val, 2 classes; grayscale, "
        "resized and padded to 8x8"
    )
    assert lines[1].startswith("model: ")
    config = runfolder.read_config(Path("run"))
    assert (config.train_images, config.test_images) == (10, 6)


def test_classes_that_differ_between_the_parts_are_refused(capsys):
    class_folder("photos/train", ("cat", "dog"))
    class_folder("photos/test", ("cat", "hare"))
    fails(
        capsys,
        "train photos",
        f"suiren train: error: {Path('photos/train')} and {Path('photos/test')} have different "
        "classes; only train has 'dog'; only test has 'hare'",
    )


def test_json_is_all_that_is_printed(capsys):
    class_folder("bars")
    assert main(["train", "bars", "--json", "--out", "run", *SMALL]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert captured.err == ""
    assert (result["run"], result["model"], len(result["epochs"])) == ("run", "cnn", 1)
    assert result["test_accuracy"] == result["epochs"][-1]["test_accuracy"]
    assert main(["predict", "run", "bars/dark/0.png", "none.png", "--json", "--top", "2"]) == 0
    captured = capsys.readouterr()
    (answer,) = json.loads(captured.out)
    assert captured.err == "skipped none.png: no such file\n"
    assert sum(row["probability"] for row in answer["classes"]) == pytest.approx(1, abs=1e-5)


def test_predict_saves_drawings_without_touching_the_pictures(capsys):
    class_folder("bars", ("猫", "dog"))
    assert main(["train", "bars", "--out", "run", "--quiet", *SMALL]) == 0
    before = Path("bars/猫/0.png").read_bytes()
    assert main(["predict", "run", "bars/猫/0.png", "--save", "bars/猫", "--top", "2"]) == 0
    assert Path("bars/猫/0.png").read_bytes() == before
    with Image.open("bars/猫/0-predicted.png") as drawing:
        assert drawing.width >= 240 and drawing.height > drawing.width
    Path("file").write_text("")
    capsys.readouterr()
    assert main(["predict", "run", "bars/dog/0.png", "--save", "file"]) == 2
    assert capsys.readouterr().err.startswith(
        "suiren predict: error: cannot make the folder file: "
    )


# --- the network


def test_transfer_learning_takes_all_but_the_head(capsys):
    class_folder("one")
    class_folder("two", ("a", "b", "c"))
    assert main(["train", "one", "--model", "cnn4", "--out", "first", *SMALL]) == 0
    source = "first/model.pt"
    command = ["train", "two", "--model", "cnn4", "--pretrained", source, *SMALL]
    capsys.readouterr()
    assert main([*command, "--freeze", "--out", "frozen"]) == 0
    assert "tensors from" in capsys.readouterr().out
    before, after = weights("first"), weights("frozen")
    moved = {name for name in after if name not in before or
             before[name].shape != after[name].shape or
             not torch.equal(before[name], after[name])}  # fmt: skip
    assert moved == {"classifier.3.weight", "classifier.3.bias"}
    assert after["classifier.3.weight"].shape[0] == 3

    assert main([*command, "--backbone-lr", "0.0001", "--out", "tuned", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["trained"] == result["parameters"]
    state = runfolder.read_checkpoint(Path("tuned"))["optimizer"]
    assert [group["lr"] for group in state["param_groups"]] == [0.003, 0.0001]

    # A frozen run is resumed as it was.
    assert main(["train", "--resume", "frozen", "--epochs", "2", "--quiet"]) == 0
    assert torch.equal(before["features.0.weight"], weights("frozen")["features.0.weight"])


def test_weights_that_do_not_fit_are_refused(capsys):
    class_folder("one")
    torch.save(CNN4(3, 8, 2).state_dict(), "coloured.pt")
    torch.save({"module." + n: v for n, v in CNN4(1, 8, 5).state_dict().items()}, "parallel.pt")
    torch.save([1, 2], "list.pt")
    Path("junk.pt").write_bytes(b"junk")
    start = "suiren train: error: "
    for name, message in [
        ("none.pt", "there is no file none.pt\n"),
        ("junk.pt", "cannot read weights from junk.pt: "),
        ("list.pt", "list.pt holds no state dict: tensors by the names of a model\n"),
        ("coloured.pt", "coloured.pt does not fit cnn4: features.0.weight has the shape "
            "(32, 3, 3, 3), not (16, 1, 3, 3) and "),
    ]:  # fmt: skip
        assert main(["train", "one", "--model", "cnn4", "--pretrained", name, *SMALL]) == 2
        assert capsys.readouterr().err.startswith(start + message.replace(
            "coloured.pt does", f"{Path('coloured.pt').resolve()} does"))  # fmt: skip
    assert not Path("runs").exists()
    assert main(["train", "one", "--model", "cnn4", "--pretrained", "parallel.pt", *SMALL]) == 0


def test_vision_models_take_grey_images_and_published_statistics():
    class_folder("one")
    torch.manual_seed(1)
    torch.save(resnet18().state_dict(), "resnet18.pth")
    command = "train one --model resnet18 --image-size 32 --batch-size 8 --epochs 1 --out run"
    assert main([*command.split(), "--pretrained", "resnet18.pth", "--freeze", "--quiet"]) == 0
    config = runfolder.read_config(Path("run"))
    assert (config.channels, config.mean, config.lr) == (1, networks.IMAGENET_MEAN, 0.001)
    before, after = torch.load("resnet18.pth"), weights("run")
    assert torch.equal(before["bn1.running_mean"], after["bn1.running_mean"])
    assert after["fc.weight"].shape == (2, 512)
    assert main(["predict", "run", "one/dark/0.png"]) == 0


def test_an_image_size_that_a_model_does_not_take_is_said(capsys):
    class_folder("one")
    assert main(["train", "one", "--model", "vgg11", *SMALL]) == 2
    message = capsys.readouterr().err
    assert message.startswith("suiren train: error: vgg11 does not take images of 8x8 (")
    assert message.endswith("; give another --image-size, such as 224\n")


def test_contradictions_are_one_line(capsys):
    class_folder("one")
    error = "suiren train: error:"
    for command, message in [
        ("train one --freeze", "--freeze needs --pretrained: random weights are nothing to keep"),
        ("train one --pretrained x --freeze --backbone-lr 0.1",
            "--freeze and --backbone-lr contradict each other; give one of them"),
        ("train one --points x.csv", "--points is for --task keypoints"),
        ("train mnist --task keypoints", "--task keypoints needs a folder of images"),
        ("train one --task keypoints",
            "--task keypoints needs --points FILE.csv: file name, then x, y of every point"),
        ("train one --schedule up", "argument --schedule: there is no schedule 'up'; choose from "
            "none, step, cosine, onecycle (see suiren train --help)"),
    ]:  # fmt: skip
        fails(capsys, command, f"{error} {message}")


# --- training


def test_schedules_are_pytorchs():
    def rates(name, steps):
        settings = dict.fromkeys(runfolder.RunConfig.__dataclass_fields__)
        config = runfolder.RunConfig(**{**settings, "schedule": name})
        return [networks.rate_factor(config, step, steps) for step in range(steps)]

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=50)
    wanted = []
    for _ in range(50):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(wanted) < 50:
            schedule.step()
    assert rates("onecycle", 50) == pytest.approx(wanted, rel=1e-6)
    assert rates("step", 6) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rates("cosine", 4) == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-5)
    assert rates("none", 3) == [1, 1, 1]


def test_a_scheduled_run_resumes_and_cannot_grow(capsys, monkeypatch):
    # Compiled from the first step on, as for a user: half and half would not give equal bits.
    monkeypatch.setattr(program, "COMPILE_AT", 2)
    class_folder("bars")
    arguments = ["train", "bars", *SMALL, "--schedule", "cosine", "--augment", "--flip"]
    arguments[arguments.index("--epochs") + 1] = "2"
    assert main([*arguments, "--out", "whole", "--quiet"]) == 0

    from suiren.cli import training

    class Stop(Exception):
        pass

    def stop(job):
        save(job)
        if len(job.history) == 1:
            raise training.CommandError("stopped")

    save = training.Job.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Job, "save", stop)
        assert main([*arguments, "--out", "part", "--quiet"]) == 2
    assert main(["train", "--resume", "part", "--quiet", "--workers", "1"]) == 0
    for name, value in weights("whole").items():
        np.testing.assert_array_equal(value.numpy(), weights("part")[name].numpy())
    capsys.readouterr()
    fails(
        capsys,
        "train --resume whole --epochs 3",
        "suiren train: error: --epochs cannot grow: the cosine schedule of whole ends with epoch "
        f"2; begin a new run with --pretrained {Path('whole/model.pt')}",
    )


def test_variations_depend_on_seed_epoch_and_image_alone():
    images = np.stack([noise(i, 12) for i in range(4)])[:, None]
    data = Batches(images, np.arange(4), augment=True, seed=3)
    first, _ = data[[0, 1, 2]]
    again, _ = data[[2]]
    assert torch.equal(first[2], again[0])
    assert not torch.equal(first[0], torch.from_numpy(images[0]))
    data.epoch = 1
    assert not torch.equal(data[[2]][0], again)
    np.testing.assert_array_equal(images[2, 0], noise(2, 12))  # the originals stay


def test_points_move_with_the_image():
    image = np.zeros((1, 64, 64), np.uint8)
    image[0, 20:23, 40:43] = 255
    where = np.array([[41.5 / 64, 21.5 / 64]], np.float32)
    data = Batches(image[None], where[None], augment=True, seed=1)
    for epoch in range(5):
        data.epoch = epoch
        moved, points = (part[0].numpy() for part in data[[0]])
        rows, columns = np.nonzero(moved[0] > 100)
        found = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / 64
        np.testing.assert_allclose(points[0], found, atol=0.012)


# --- points


def test_points_go_to_the_square_and_back():
    points = np.array([[0, 0], [30, 10], [15, 5]], np.float32)
    shares = to_square(points, (30, 10))
    np.testing.assert_allclose(shares, [[0, 1 / 3], [1, 2 / 3], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(from_square(shares, (30, 10)), points, atol=1e-5)
    labels = torch.tensor([[[0.5, 0.5], [float("nan"), float("nan")]]])
    outputs = torch.tensor([[0.2, 0.0, 9.0, 9.0]], requires_grad=True)
    loss = loss_of(outputs, labels)
    loss.backward()
    assert loss.item() == pytest.approx(0.02)  # the unknown point counts for nothing
    np.testing.assert_allclose(outputs.grad.numpy(), [[0.2, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(points_of(outputs.detach().numpy())[0, 0], [0.6, 0.5], rtol=1e-6)


def test_keypoints_train_predict_and_skip_a_broken_image(capsys):
    folder, table = points_folder()
    (folder / "3.png").write_bytes(b"broken")
    points_folder("more", 4)
    command = f"train {folder} --task keypoints --points {table} --test-data more"
    arguments = [*command.split(), "--test-points", "more.csv", "--augment", "--out", "run", *SMALL]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == f"skipped {Path(folder).resolve() / '3.png'}: not an image\n" or (
        captured.err == f"skipped {folder / '3.png'}: not an image\n"
    )
    lines = captured.out.splitlines()
    assert lines[0] == (
        "data: faces, 9 images to train on and 4 to test on, 3 points each; grayscale, "
        "resized and padded to 8x8"
    )
    assert lines[-1].startswith("test error ") and lines[-1].endswith("% of the image's side")
    assert Path("run/metrics.csv").read_text().startswith(runfolder.POINTS_HEADER)
    assert not Path("run/confusion.png").exists()
    assert main(["predict", "run", "faces/0.png", "--json", "--save", "drawn"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert np.array(answer["points"]).shape == (3, 2)
    with Image.open("drawn/0.png") as drawing:
        assert drawing.width >= 240
    assert main(["predict", "run", "faces/0.png"]) == 0
    assert capsys.readouterr().out.count(",") == 3
    assert main(["train", "--resume", "run", "--epochs", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert 0 < result["test_error"] < 1 and len(result["epochs"]) == 2


def test_bad_tables_are_one_line(capsys):
    folder, table = points_folder()
    error = "suiren train: error:"
    command = f"train {folder} --task keypoints --points"
    fails(capsys, f"{command} none.csv", f"{error} there is no file {Path('none.csv').resolve()}")
    good = table.read_text().splitlines()
    for lines, words in [
        ([], "has no rows"),
        ([*good[:3], "2.png,1,2,3"], "line 4: 3 numbers after the file name"),
        ([*good[:3], "2.png,1,2,3,4,x,6"], "line 4: could not convert string to float: 'x'"),
        ([*good, "99.png,1,2,3,4,5,6"], "names 1 images that are not in"),
    ]:
        Path("bad.csv").write_text("\n".join(lines))
        assert main([*command.split(), "bad.csv"]) == 2
        message = capsys.readouterr().err
        assert message.startswith(error) and words in message and message.count("\n") == 1
    Path("bad.csv").write_bytes(b"\xff\xfe\x00")
    assert main([*command.split(), "bad.csv"]) == 2
    assert "is not text" in capsys.readouterr().err
    points_folder("two", 3, points=2)
    tables = f"{command} {table} --test-data two --test-points two.csv"
    assert main(tables.split()) == 2
    assert "has 3 points for each image and" in capsys.readouterr().err
    assert not Path("runs").exists()
