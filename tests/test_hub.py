"""Downloads of checkpoints: the folder, checksums, what was cut off, errors; old file formats."""

import hashlib
import inspect
import io
import os
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import suiren
from suiren import hub


def checkpoint():
    file = io.BytesIO()
    suiren.save({"weight": suiren.arange(6.0).reshape(2, 3)}, file)
    return file.getvalue()


CONTENTS = checkpoint()
DIGEST = hashlib.sha256(CONTENTS).hexdigest()
NAME = f"tiny-{DIGEST[:8]}.pth"


class Server(ThreadingHTTPServer):
    """Serves CONTENTS under any name; `cut` ends the first answer after so many bytes."""

    daemon_threads = True
    cut = None
    ranges = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, name=NAME):
        return f"http://127.0.0.1:{self.server_address[1]}/models/{name}?from=tests"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if "missing" in self.path:
            self.send_error(404)
            return
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENTS):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = CONTENTS[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        self.wfile.write(body if cut is None else body[:cut])


@pytest.fixture
def server():
    found = Server()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_dir", None)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert hub.get_dir() == os.path.join(os.path.expanduser("~"), ".cache", "torch", "hub")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert hub.get_dir() == str(tmp_path / "cache" / "torch" / "hub")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert hub.get_dir() == str(tmp_path / "hub")
    hub.set_dir(tmp_path / "mine")
    assert hub.get_dir() == str(tmp_path / "mine")


def test_a_file_is_downloaded_once(server, folder, capsys):
    found = hub.load_state_dict_from_url(server.url(), check_hash=True, weights_only=True)
    assert found["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    told = capsys.readouterr().err
    assert f'Downloading: "{server.url()}" to {folder / NAME}' in told and "100%" not in NAME
    assert [file.name for file in folder.iterdir()] == [NAME]
    hub.load_state_dict_from_url(server.url(), check_hash=True)
    assert server.asked == [None] and capsys.readouterr().err == ""


def test_folder_and_name_may_be_given(server, tmp_path):
    found = hub.load_state_dict_from_url(
        server.url(), model_dir=str(tmp_path / "a" / "b"), file_name="other.pth", progress=False
    )
    assert (tmp_path / "a" / "b" / "other.pth").read_bytes() == CONTENTS
    assert list(found) == ["weight"]


def test_the_hash_is_compared(server, folder):
    wrong = "tiny-0123456789.pth"
    with pytest.raises(RuntimeError, match='invalid hash value .expected "0123456789", got "'):
        hub.load_state_dict_from_url(server.url(wrong), check_hash=True, progress=False)
    assert list(folder.iterdir()) == []
    hub.load_state_dict_from_url(server.url(wrong), progress=False)  # nobody asked to compare
    assert [file.name for file in folder.iterdir()] == [wrong]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_off_goes_on(server, folder, ranges):
    server.cut, server.ranges = 100, ranges
    with pytest.raises(urllib.error.URLError, match=f"ended at 100 of {len(CONTENTS)} bytes"):
        hub.load_state_dict_from_url(server.url(), check_hash=True, progress=False)
    assert [file.name for file in folder.iterdir()] == [f"{NAME}.partial"]
    hub.load_state_dict_from_url(server.url(), check_hash=True, progress=False)
    assert server.asked == [None, "bytes=100-"]
    assert [file.name for file in folder.iterdir()] == [NAME]
    assert (folder / NAME).read_bytes() == CONTENTS


def test_a_part_of_another_file_is_thrown_away(server, folder):
    folder.mkdir(parents=True)
    for junk in (b"x" * 50, b"x" * 10_000):
        (folder / f"{NAME}.partial").write_bytes(junk)
        with pytest.raises(RuntimeError, match="another try starts anew"):
            hub.load_state_dict_from_url(server.url(), check_hash=True, progress=False)
        assert list(folder.iterdir()) == []
    (folder / f"{NAME}.partial").write_bytes(CONTENTS)  # all was there but the renaming
    hub.load_state_dict_from_url(server.url(), check_hash=True, progress=False)
    assert (folder / NAME).read_bytes() == CONTENTS


def test_without_a_hash_nothing_is_kept_of_a_part(server, tmp_path):
    server.cut = 100
    with pytest.raises(urllib.error.URLError):
        hub.download_url_to_file(server.url(), str(tmp_path / "file"), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_errors_say_what_to_do_by_hand(server, folder):
    url = server.url("missing-01234567.pth")
    with pytest.raises(urllib.error.URLError) as caught:
        hub.load_state_dict_from_url(url, progress=False)
    told = str(caught.value)
    for part in (url, "Not Found", "put it by hand at", str(folder / "missing-01234567.pth")):
        assert part in told
    assert isinstance(caught.value, OSError)
    closed = server.url()
    server.shutdown()
    server.server_close()
    with pytest.raises(urllib.error.URLError, match="put it by hand at"):
        hub.load_state_dict_from_url(closed, progress=False)
    assert list(folder.iterdir()) == []


def test_a_folder_without_room_is_not_called_a_network_error(server, tmp_path):
    with pytest.raises(FileNotFoundError):
        hub.download_url_to_file(server.url(), str(tmp_path / "no" / "file"), progress=False)


def test_other_peoples_code_is_not_run():
    for function, arguments in ((hub.load, ("a/b", "c")), (hub.list, ("a/b",)),
                                (hub.help, ("a/b", "c"))):  # fmt: skip
        with pytest.raises(NotImplementedError, match=f"torch.hub.{function.__name__} runs code"):
            function(*arguments)


def test_signatures_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in ("load_state_dict_from_url", "download_url_to_file", "get_dir", "set_dir"):
        theirs = inspect.signature(getattr(torch.hub, name)).parameters.values()
        mine = inspect.signature(getattr(hub, name)).parameters.values()
        assert [(p.name, p.kind, p.default) for p in mine] == [
            (p.name, p.kind, p.default) for p in theirs
        ]


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("new", [True, False])
def test_files_of_pytorch_in_both_formats(folder, new, weights_only):
    torch = pytest.importorskip("torch")
    folder.mkdir(parents=True)
    layer = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    state = layer.state_dict()
    state["shared"] = state["0.weight"][1:]  # a view: one storage for both
    torch.save(state, folder / "theirs.pth", _use_new_zipfile_serialization=new)
    found = hub.load_state_dict_from_url(
        "http://nowhere.invalid/theirs.pth", weights_only=weights_only
    )
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert found[name].tolist() == tensor.tolist()
    assert found["shared"].data_ptr() - found["0.weight"].data_ptr() == 4 * 2 * 3 * 3
    assert found._metadata["1"] == {"version": 2}
