"""suiren.vision.datasets: files small enough to write here, and a server on this machine that
breaks off, lies and is away.

With SUIREN_TEST_MNIST set to the folder that holds `MNIST/raw`, the real files are read too.
"""

import gzip
import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

import suiren as torch
from suiren.utils.data import DataLoader, Subset
from suiren.vision import datasets, transforms
from suiren.vision.datasets import download, utils
from suiren.vision.datasets.mnist import read_idx
from suiren.vision.datasets.svhn import read_mat
from suiren.vision.transforms import points

TO_TENSOR = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])


def idx(array):
    """An array of uint8 as the bytes of an IDX file."""
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    return head + array.tobytes()


@pytest.fixture
def digits(tmp_path):
    """A folder of MNIST with 20 training images, plain, and 6 test images, compressed."""
    generator = np.random.default_rng(3)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    arrays = {}
    for part, count in (("train", 20), ("t10k", 6)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = generator.integers(0, 10, count, dtype=np.uint8)
        arrays[part] = images, labels
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{part}-{kind}-ubyte"
            if part == "train":
                (raw / name).write_bytes(idx(array))
            else:
                (raw / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return tmp_path, arrays


# ---- MNIST and CIFAR


def test_mnist_reads_plain_and_compressed_files(digits):
    root, arrays = digits
    for train, part in ((True, "train"), (False, "t10k")):
        found = datasets.MNIST(root, train=train)
        images, labels = arrays[part]
        assert np.array_equal(found.data.numpy(), images) and found.data.dtype is torch.uint8
        assert found.targets.tolist() == labels.tolist() and found.targets.dtype is torch.int64
        image, label = found[3]
        assert image.mode == "L" and np.array_equal(np.asarray(image), images[3])
        assert label == labels[3] and type(label) is int
    assert found.class_to_idx["7 - seven"] == 7 and len(found) == 6
    assert repr(found).splitlines()[:2] == ["Dataset MNIST", "    Number of datapoints: 6"]
    twice = datasets.MNIST(root, target_transform=lambda label: label * 2)
    assert twice[0][1] == 2 * arrays["train"][1][0]


def test_a_batch_at_once_is_the_batch_image_by_image(digits):
    root, _ = digits
    plain = datasets.MNIST(root, transform=TO_TENSOR)
    watched = datasets.MNIST(root, transform=transforms.Compose([lambda x: x, TO_TENSOR]))
    for made in (lambda x: x, lambda x: Subset(x, [3, -1, 7, 0, 5])):
        for (x, y), (x2, y2) in zip(
            DataLoader(made(plain), 3), DataLoader(made(watched), 3), strict=True
        ):
            assert torch.equal(x, x2) and torch.equal(y, y2) and y.dtype is torch.int64
            assert x.is_contiguous() and x.dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(
            next(iter(DataLoader(plain, 4)))[0], next(iter(DataLoader(watched, 4)))[0]
        )
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_the_user_changes_is_not_passed_over(digits):
    root, arrays = digits
    found = datasets.MNIST(root, transform=TO_TENSOR)
    found.data = found.data[:4] * 0
    found.targets = torch.tensor([9, 8, 7, 6])
    images, labels = next(iter(DataLoader(found, 8)))
    assert len(images) == 4 and labels.tolist() == [9, 8, 7, 6]
    assert abs(images.max().item() + 0.1307 / 0.3081) < 1e-6
    found.target_transform = lambda label: label + 1
    assert next(iter(DataLoader(found, 8)))[1].tolist() == [10, 9, 8, 7]
    found.targets = [1, 2, 3, 4]  # a list in the tensor's place
    assert found[1][1] == 3

    class Inverted(datasets.MNIST):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return -image, label

    Inverted.__name__ = "MNIST"
    ours = next(iter(DataLoader(Inverted(root, transform=TO_TENSOR), 2)))[0]
    plain = next(iter(DataLoader(datasets.MNIST(root, transform=TO_TENSOR), 2)))[0]
    assert torch.equal(ours, -plain)
    hooked = transforms.Normalize((0.0,), (1.0,))
    hooked.register_forward_hook(lambda module, args, result: result + 5)
    steps = transforms.Compose([transforms.ToTensor(), hooked])
    assert next(iter(DataLoader(datasets.MNIST(root, transform=steps), 2)))[0].min().item() >= 5
    with pytest.raises(RuntimeError):  # two means for one channel
        bad = transforms.Compose([transforms.ToTensor(), transforms.Normalize((1, 2), (1, 2))])
        found = next(iter(DataLoader(datasets.MNIST(root, transform=bad), 2)))
        assert found[0].shape[1] == 2  # image by image it broadcasts
        raise RuntimeError


def test_missing_and_damaged_files_are_named(digits, tmp_path):
    root, _ = digits
    raw = root / "MNIST" / "raw"
    with pytest.raises(RuntimeError, match="train-images-idx3-ubyte.*FashionMNIST"):
        datasets.FashionMNIST(root)
    labels = raw / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-3])
    with pytest.raises(RuntimeError, match="train-labels-idx1-ubyte is damaged"):
        datasets.MNIST(root)
    packed = raw / "t10k-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-50])
    with pytest.raises(RuntimeError, match="t10k-images-idx3-ubyte.gz is damaged"):
        datasets.MNIST(root, train=False)
    labels.write_bytes(b"<html>not found</html>")
    with pytest.raises(RuntimeError, match="no IDX file"):
        read_idx(labels)


def test_the_real_mnist():
    root = os.environ.get("SUIREN_TEST_MNIST")
    if not root:
        pytest.skip("SUIREN_TEST_MNIST names no folder")
    train, test = datasets.MNIST(root), datasets.MNIST(root, train=False, download=True)
    assert (len(train), len(test)) == (60000, 10000)
    digest = hashlib.md5(idx(train.data.numpy())).hexdigest()
    assert digest == "6bbc9ace898e44ae57da46a324031adb"
    pixels = train.data.numpy() / np.float32(255)
    assert abs(pixels.mean() - 0.1307) < 1e-4 and abs(pixels.std() - 0.3081) < 1e-4
    assert train.targets[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]


def write_cifar(root, kind, protocol=2):
    """A folder of CIFAR with two images in each file, and their MD5s set in a subclass."""
    folder = root / kind.base_folder
    folder.mkdir()
    generator = np.random.default_rng(4)
    wanted, md5s = {}, {}
    for name, _ in [*kind.train_list, *kind.test_list]:
        data = generator.integers(0, 256, (2, 3072), dtype=np.uint8)
        key = "labels" if kind is datasets.CIFAR10 else "fine_labels"
        wanted[name] = data, [1, 0]
        text = pickle.dumps({"data": data, key: [1, 0], "filenames": ["a", "b"]}, protocol)
        (folder / name).write_bytes(text)
        md5s[name] = hashlib.md5(text).hexdigest()
    text = pickle.dumps({kind.meta["key"]: ["cat", "dog"]}, protocol)
    (folder / kind.meta["filename"]).write_bytes(text)

    class Small(kind):
        train_list = [[name, md5s[name]] for name, _ in kind.train_list]
        test_list = [[name, md5s[name]] for name, _ in kind.test_list]
        meta = {**kind.meta, "md5": hashlib.md5(text).hexdigest()}

    return Small, wanted


@pytest.mark.parametrize("kind", [datasets.CIFAR10, datasets.CIFAR100])
def test_cifar(kind, tmp_path):
    small, wanted = write_cifar(tmp_path, kind)
    train, test = small(tmp_path), small(tmp_path, train=False, transform=TO_TENSOR)
    assert train.data.shape == (2 * len(kind.train_list), 32, 32, 3) and len(test) == 2
    first = wanted[kind.train_list[0][0]][0][1].reshape(3, 32, 32).transpose(1, 2, 0)
    assert np.array_equal(np.asarray(train[1][0]), first) and train[1][1] == 0
    assert train.classes == ["cat", "dog"] and train.class_to_idx == {"cat": 0, "dog": 1}
    images, labels = next(iter(DataLoader(test, 2)))
    assert torch.equal(images, torch.stack([test[0][0], test[1][0]])) and labels.tolist() == [1, 0]
    (tmp_path / kind.base_folder / kind.test_list[0][0]).write_bytes(b"other")
    with pytest.raises(RuntimeError, match=kind.test_list[0][0]):
        small(tmp_path)


class Harm:
    def __reduce__(self):
        return os.getenv, ("HOME",)


@pytest.mark.parametrize("harm", [Harm(), np.array([Harm()], dtype=object), np.float64])
def test_a_cifar_pickle_may_hold_plain_data_only(harm, tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({"data": harm}, 2))
    with pytest.raises(RuntimeError, match="cannot be read"):
        datasets.cifar.read_batch(str(path))


# ---- SVHN, CelebA, folders, points, noise


def mat_element(kind, body, order="<"):
    return struct.pack(order + "II", kind, len(body)) + body + b"\0" * (-len(body) % 8)


def mat_array(name, array):
    number = {"uint8": 2, "float64": 9}[str(array.dtype)]
    flags = struct.pack("<II", 9 if number == 2 else 6, 0)
    sizes = struct.pack(f"<{array.ndim}i", *array.shape)
    short = struct.pack("<HH", 1, len(name)) + name.encode().ljust(4, b"\0")  # a short element
    return mat_element(
        14,
        mat_element(6, flags)
        + mat_element(5, sizes)
        + short
        + mat_element(number, array.tobytes(order="F")),
    )


def write_mat(path, compressed, **arrays):
    text = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
    for name, array in arrays.items():
        element = mat_array(name, array)
        if compressed:
            packed = zlib.compress(element)
            element = struct.pack("<II", 15, len(packed)) + packed
        text += element
    path.write_bytes(text)
    return hashlib.md5(text).hexdigest()


@pytest.mark.parametrize("compressed", [False, True])
def test_svhn(compressed, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    labels = np.array([[1.0], [10.0], [9.0], [3.0]])
    md5 = write_mat(tmp_path / "test_32x32.mat", compressed, X=images, y=labels)

    class Small(datasets.SVHN):
        split_list = {**datasets.SVHN.split_list, "test": ["http://x/y", "test_32x32.mat", md5]}

    found = Small(tmp_path, "test")
    assert found.labels.tolist() == [1, 0, 9, 3] and found.data.shape == (4, 3, 32, 32)
    assert np.array_equal(np.asarray(found[2][0]), images[..., 2]) and found[1][1] == 0
    with pytest.raises(RuntimeError, match="train_32x32.mat"):
        Small(tmp_path)
    with pytest.raises(ValueError, match="Unknown value"):
        Small(tmp_path, "half")
    (tmp_path / "cut.mat").write_bytes((tmp_path / "test_32x32.mat").read_bytes()[:-40])
    with pytest.raises(RuntimeError, match="damaged"):
        read_mat(tmp_path / "cut.mat")


def test_celeba(tmp_path):
    folder = tmp_path / "celeba"
    with pytest.raises(RuntimeError, match="identity_CelebA.txt"):
        datasets.CelebA(tmp_path)
    folder.mkdir()
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for name in ("1.jpg", "2.jpg", "3.jpg"):
            stream = io.BytesIO()
            Image.new("RGB", (8, 9)).save(stream, "JPEG")
            archive.writestr(f"img_align_celeba/{name}", stream.getvalue())
    texts = {
        "list_eval_partition.txt": "1.jpg 0\n2.jpg 2\n3.jpg 0\n",
        "identity_CelebA.txt": "1.jpg 7\n2.jpg 8\n3.jpg 9\n",
        "list_attr_celeba.txt": "3\nBald Smiling \n1.jpg -1  1\n2.jpg  1  1\n3.jpg  1 -1\n",
        "list_bbox_celeba.txt": "3\nimage_id x_1 y_1 width height\n1.jpg 1 2 3 4\n2.jpg 5 6 7 8\n"
        "3.jpg  9 10  11 12\n",
        "list_landmarks_align_celeba.txt": "3\na b\n1.jpg 1 2\n2.jpg 3 4\n3.jpg 5 6\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    found = datasets.CelebA(tmp_path, target_type=["attr", "identity", "bbox"], download=True)
    assert found.filename == ["1.jpg", "3.jpg"] and found.attr_names == ["Bald", "Smiling"]
    image, (attributes, identity, box) = found[1]
    assert image.size == (8, 9) and attributes.tolist() == [1, 0] and identity.item() == 9
    assert box.tolist() == [9, 10, 11, 12]
    assert len(datasets.CelebA(tmp_path, "all")) == 3


def test_image_folders(tmp_path):
    for name in ("dog/b.png", "dog/deep/a.PNG", "cat/1.jpg", "cat/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".txt"):
            path.write_text("not an image")
        else:
            Image.new("L", (3, 4), 9).save(path)
    found = datasets.ImageFolder(tmp_path, transform=transforms.ToTensor())
    assert found.classes == ["cat", "dog"] and found.class_to_idx == {"cat": 0, "dog": 1}
    assert [path[len(str(tmp_path)) + 1 :] for path, _ in found.samples] == [
        "cat/1.jpg", "dog/b.png", "dog/deep/a.PNG"
    ]  # fmt: skip
    assert found.targets == [0, 1, 1] and found.imgs is found.samples
    assert found[2][0].shape == (3, 4, 3) and found[2][1] == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="classes empty"):
        datasets.ImageFolder(tmp_path)
    assert len(datasets.ImageFolder(tmp_path, allow_empty=True)) == 3
    texts = datasets.DatasetFolder(
        tmp_path, lambda path: open(path).read(), (".txt",), allow_empty=True
    )
    with open(texts.samples[0][0]) as file:
        assert file.read() == "not an image"
    with pytest.raises(FileNotFoundError, match="class folder"):
        datasets.ImageFolder(tmp_path / "empty")


def test_images_with_points(tmp_path):
    for name, size in (("a.png", (20, 10)), ("b.png", (30, 40))):
        Image.new("RGB", size).save(tmp_path / name)
    table = tmp_path / "points.csv"
    table.write_text(",0,1,2,3\na.png,10,5,20.0,0\n\nb.png,15,,3,40\n")
    steps = points.Compose([points.Resize((40, 40)), points.ToTensor(), points.Scale()])
    found = datasets.Keypoints(tmp_path, table, steps)
    assert len(found) == 2 and found.points.shape == (2, 2, 2)
    image, where = found[0]
    assert image.shape == (3, 40, 40) and where.tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert np.isnan(found[1][1][0, 1].item())
    images, batch = next(iter(DataLoader(found, 2)))
    assert images.shape == (2, 3, 40, 40) and batch.shape == (2, 2, 2)
    table.write_text("a.png,1,2\nb.png,3,4\n")  # without a header
    assert len(datasets.Keypoints(tmp_path, table)) == 2
    for text, error, words in (
        ("a.png,1,2\nb.png,3\n", ValueError, "line 2"),
        ("a.png,1,2,3\n", ValueError, "even"),
        ("a.png,1,x\n", ValueError, "line 1"),
        ("a.png,1,2\nc.png,3,4\n", FileNotFoundError, "c.png"),
        ("file,x,y\n", ValueError, "no rows"),
    ):
        table.write_text(text)
        with pytest.raises(error, match=words):
            datasets.Keypoints(tmp_path, table)


def test_fake_data_is_the_same_each_time_and_draws_nothing():
    found = datasets.FakeData(5, (3, 6, 4), transform=transforms.PILToTensor(), random_offset=3)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first, second = found[2], found[2]
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first[0], second[0]) and first[1] == second[1]
    torch.manual_seed(5)
    torch.randn(3, 6, 4)
    assert first[1] == torch.randint(0, 10, (1,)).item()
    with pytest.raises(IndexError):
        found[5]


# ---- downloads


class Server:
    """Serves bytes by path, and misbehaves as told."""

    def __init__(self):
        self.files, self.cuts, self.requests = {}, {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.path, self.headers.get("Range")))
                data = outer.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                start = 0
                if self.headers.get("Range"):
                    start = int(self.headers["Range"][6:].rstrip("-"))
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                end = len(data)
                if outer.cuts.get(self.path):
                    end = outer.cuts[self.path].pop(0)
                self.wfile.write(data[start:end])

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


DATA = np.random.default_rng(9).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(DATA).hexdigest()


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.files["/a"] = DATA
    server.cuts["/a"] = [100_000, 200_000]
    target = tmp_path / "folder" / "a"
    download.download_from([server.url + "/a"], str(target), MD5)
    assert target.read_bytes() == DATA and os.listdir(target.parent) == ["a"]
    starts = [asked for _, asked in server.requests]
    assert starts[0] is None and len(starts) == 3 and starts[2] == "bytes=200000-"


def test_the_next_call_goes_on_with_what_was_kept(server, tmp_path):
    server.files["/a"] = DATA
    server.cuts["/a"] = [70_000] * 5  # no further, however often it is asked
    target = tmp_path / "a"
    with pytest.raises(RuntimeError, match=r"cannot download a.*by hand at .*a \(MD5"):
        try:
            download.download_from([server.url + "/a"], str(target), MD5)
        except RuntimeError as error:
            raise RuntimeError(str(error).replace("\n", " ")) from None
    assert os.listdir(tmp_path) == ["a.partial"]
    server.cuts.clear()
    server.requests.clear()
    download.download_from([server.url + "/a"], str(target), MD5)
    assert target.read_bytes() == DATA
    assert server.requests == [("/a", "bytes=70000-")]
    server.requests.clear()
    utils.download_url(server.url + "/a", tmp_path, md5=MD5)  # it is there: nothing is asked
    assert server.requests == []


def test_wrong_contents_are_refused_and_the_next_mirror_asked(server, tmp_path):
    server.files.update({"/bad/a": b"x" * 1000, "/good/a": DATA})
    target = tmp_path / "a"
    mirrors = [f"{server.url}/{name}/a" for name in ("absent", "bad", "good")]
    with pytest.raises(RuntimeError, match="404(.|\n)*thrown away"):
        download.download_from(mirrors[:2], str(target), MD5)
    assert os.listdir(tmp_path) == []
    download.download_from(mirrors, str(target), MD5)
    assert target.read_bytes() == DATA
    with pytest.raises(ValueError, match="http and https"):
        download.download_from(["file:///etc/passwd"], str(tmp_path / "b"))


def test_a_damaged_rest_is_thrown_away_and_all_fetched_anew(server, tmp_path):
    server.files["/a"] = DATA
    (tmp_path / "a.partial").write_bytes(b"something else")
    download.download_from([server.url + "/a"], str(tmp_path / "a"), MD5)
    assert (tmp_path / "a").read_bytes() == DATA and os.listdir(tmp_path) == ["a"]


def test_mnist_is_downloaded_from_the_second_mirror(server, digits, tmp_path):
    root, arrays = digits
    resources = []
    for part in ("train", "t10k"):
        for kind, array in zip(("images-idx3", "labels-idx1"), arrays[part], strict=True):
            name = f"{part}-{kind}-ubyte.gz"
            packed = gzip.compress(idx(array))
            server.files[f"/mnist/{name}"] = packed
            resources.append((name, hashlib.md5(packed).hexdigest()))

    class MNIST(datasets.MNIST):
        mirrors = [f"{server.url}/gone/", f"{server.url}/mnist/"]

    MNIST.resources = resources
    fresh = tmp_path / "fresh"
    found = MNIST(fresh, download=True)
    assert np.array_equal(found.data.numpy(), arrays["train"][0])
    raw = fresh / "MNIST" / "raw"
    assert sorted(os.listdir(raw)) == sorted(
        [name for name, _ in resources] + [name[:-3] for name, _ in resources]
    )
    server.requests.clear()
    MNIST(fresh, train=False, download=True)
    assert server.requests == []


# ---- archives


def test_archives_are_unpacked(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("in/side.txt")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("zip/ped.txt", "there")
    (tmp_path / "plain.txt.gz").write_bytes(gzip.compress(b"you"))
    utils.extract_archive(tmp_path / "a.tar.gz", tmp_path / "out")
    utils.extract_archive(tmp_path / "a.zip", tmp_path / "out", remove_finished=True)
    utils.extract_archive(tmp_path / "plain.txt.gz", tmp_path / "out")
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.txt"))
    assert found == ["in/side.txt", "plain.txt", "zip/ped.txt"]
    assert not (tmp_path / "a.zip").exists()
    assert sorted(os.listdir(tmp_path / "out")) == ["in", "plain.txt", "zip"]


def hostile_tar(path, name, kind=tarfile.REGTYPE, link=""):
    with tarfile.open(path, "w") as archive:
        good = tarfile.TarInfo("good.txt")
        archive.addfile(good, io.BytesIO(b""))
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        archive.addfile(member, io.BytesIO(b""))


@pytest.mark.parametrize(
    "name, kind, link",
    [
        ("../outside.txt", tarfile.REGTYPE, ""),
        ("in/../../outside.txt", tarfile.REGTYPE, ""),
        ("/tmp/outside.txt", tarfile.REGTYPE, ""),
        ("C:\\outside.txt", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "/etc"),
        ("link", tarfile.LNKTYPE, "../outside.txt"),
        ("pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_hostile_tars_are_refused_before_anything_is_written(name, kind, link, tmp_path):
    hostile_tar(tmp_path / "a.tar", name, kind, link)
    with pytest.raises(RuntimeError, match="refused"):
        utils.extract_archive(tmp_path / "a.tar", tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["a.tar"]


def test_hostile_zips_and_damage_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("../outside.txt", "x")
    with pytest.raises(RuntimeError, match="refused"):
        utils.extract_archive(tmp_path / "a.zip", tmp_path / "out")
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.writestr(link, "/etc")
    with pytest.raises(RuntimeError, match="refused"):
        utils.extract_archive(tmp_path / "b.zip", tmp_path / "out")
    (tmp_path / "c.tar.gz").write_bytes(gzip.compress(b"no tar" * 100)[:-20])
    with pytest.raises(RuntimeError, match="damaged"):
        utils.extract_archive(tmp_path / "c.tar.gz", tmp_path / "out")
    (tmp_path / "d.rar").write_bytes(b"Rar!")
    with pytest.raises(RuntimeError, match="no known kind"):
        utils.extract_archive(tmp_path / "d.rar", tmp_path / "out")
