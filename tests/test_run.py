"""`suiren run` and the import hook: scripts in processes of their own, as users start them."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import suiren
from suiren.missing import missing
from suiren.torch_version import TorchVersion

HOME = str(Path(suiren.__file__).parent.parent)
SCRIPT_OF_NAMES = """
    import sys, torch, torch.nn as nn, torch.nn.functional as F
    import torch.backends.cudnn as cudnn, torch.cuda.amp, torch.multiprocessing
    import torch.nn.utils.rnn, torch.nn.parameter, torch.autograd.functional
    import torch.utils.checkpoint, torch.distributions.normal, torchvision
    from torch.optim.lr_scheduler import StepLR
    from torch.utils.data import DataLoader
    import suiren, suiren.vision

    assert torch is suiren and nn is suiren.nn and F is suiren.nn.functional
    assert torchvision is suiren.vision and torch.nn.init is sys.modules["suiren.nn.init"]
    assert cudnn is suiren.backends.cudnn
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("torch", "torchvision"):
            assert module.__name__.startswith("suiren"), name
            assert sys.modules[module.__name__] is module, name
            spec = module.__spec__
            assert spec is None or spec.name.startswith("suiren"), name
    assert torch.__version__ >= "1.10" and torch.__version__ > (2, 0)
    assert isinstance(torch.__version__, str) and "suiren" in torch.__version__
    assert not torch.cuda.is_available() and torch.version.cuda is None
    import pickle
    assert pickle.loads(b"ctorch.nn.modules.linear\\nLinear\\n.") is nn.Linear
    print("fine")
"""


def start(*arguments, folder, stdin=None):
    """The finished process of `suiren run ...` in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "suiren", "run", *map(str, arguments)],
        cwd=folder, env={**os.environ, "PYTHONPATH": HOME, "PYTHONDONTWRITEBYTECODE": "1"},
        input=stdin, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def write(folder, text, name="script.py"):
    """A script in `folder`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def test_names_are_the_same_modules(tmp_path):
    done = start(write(tmp_path, SCRIPT_OF_NAMES), folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_a_script_is_run_as_python_runs_it(tmp_path):
    write(tmp_path, "value = 7", "deep/beside.py")
    script = write(tmp_path, """
        import sys, beside, __main__
        print(__name__, __file__, sys.argv, sys.path[0], beside.value, __spec__)
        print(__main__.sys is sys)
        print(input())
        """, "deep/script.py")  # fmt: skip
    ours = start("deep/script.py", "-x", "--help", folder=tmp_path, stdin="hello\n")
    python = subprocess.run(
        [sys.executable, "deep/script.py", "-x", "--help"], cwd=tmp_path, input="hello\n",
        capture_output=True, text=True,
    )  # fmt: skip
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == python.stdout
    assert str(script) in ours.stdout


def test_modules_folders_text_and_standard_input(tmp_path):
    text = "from .other import name\nimport sys, torch\nprint(name, __package__, sys.argv[1:])"
    write(tmp_path, text, "package/__main__.py")
    write(tmp_path, "name = 'other'", "package/other.py")
    write(tmp_path, "", "package/__init__.py")
    write(tmp_path, "import torch, sys; print(torch.ones(1), sys.path[0])", "folder/__main__.py")
    assert start("-m", "package", "a", folder=tmp_path).stdout == "other package ['a']\n"
    assert start("folder", folder=tmp_path).stdout == "tensor([1.]) folder\n"
    text = "import sys, torch; print(torch.zeros(1), sys.argv)"
    assert start("-c", text, "b", folder=tmp_path).stdout == "tensor([0.]) ['-c', 'b']\n"
    assert start("-", "c", folder=tmp_path, stdin=text).stdout == "tensor([0.]) ['-', 'c']\n"


def test_exit_codes(tmp_path):
    script = write(tmp_path, "import sys; sys.exit(eval(sys.argv[1]))")
    for value, status in (("3", 3), ("None", 0), ("'text'", 1)):
        assert start(script, value, folder=tmp_path).returncode == status
    for arguments in (["missing.py"], [], ["--nothing"], ["-m", "no.such.module"], ["-m"]):
        done = start(*arguments, folder=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("suiren run: error: ") and done.stderr.count("\n") == 1


def test_tracebacks_begin_in_the_script(tmp_path):
    raising = write(tmp_path, "def f():\n    1 / 0\n\nf()\n")
    broken = write(tmp_path, "x = = 1\n", "broken.py")
    for script in (raising, broken):
        ours = start(script, folder=tmp_path)
        python = subprocess.run([sys.executable, script], capture_output=True, text=True)
        assert (ours.returncode, ours.stderr) == (1, python.stderr)
    hooked = write(tmp_path, """
        import atexit, sys
        sys.excepthook = lambda *found: print("mine", found[0].__name__)
        atexit.register(print, "last")
        raise ValueError
        """, "hooked.py")  # fmt: skip
    assert start(hooked, folder=tmp_path).stdout == "mine ValueError\nlast\n"


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_an_interrupt_ends_the_script_as_in_python(tmp_path):
    script = write(tmp_path, "import time\nprint('started', flush=True)\ntime.sleep(30)")
    process = subprocess.Popen(
        [sys.executable, "-m", "suiren", "run", script], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": HOME},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert errors.startswith("Traceback") and errors.rstrip().endswith("KeyboardInterrupt")
    assert "suiren/cli" not in errors


def test_missing_names_say_what_is_near(tmp_path):
    script = write(tmp_path, """
        import importlib.util
        import torch
        for text in ("from torch.nn import Linaer", "torch.nn.Linaer", "torch.compyle",
                     "import torch.nn.functionol", "import torch.absent.deep",
                     "from torch import Tensr"):
            try:
                exec(text)
            except (ImportError, AttributeError) as error:
                print(type(error).__name__, error)
        print(hasattr(torch, "absent"), importlib.util.find_spec("torch.absent"))
        from torch.random import manual_sed
        """)  # fmt: skip
    done = start(script, folder=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ImportError module 'suiren.nn' has no attribute 'Linaer'")
    assert lines[1].startswith("AttributeError")
    assert "Suiren has no torch.nn.Linaer (yet); near it: Linear" in lines[1]
    assert lines[2].startswith("AttributeError") and "compile" in lines[2]
    assert lines[3].startswith("ModuleNotFoundError No module named 'torch.nn.functionol': Suiren")
    assert lines[3].endswith("does not have it (yet); near it: functional")
    assert lines[4].startswith("ModuleNotFoundError No module named 'torch.absent'")
    assert lines[5].startswith("ImportError") and "near it: Tensor" in lines[5]
    assert lines[6] == "False None"
    assert "torch.random.manual_sed (yet); near it: manual_seed" in done.stderr
    assert "imports.py" not in done.stderr and "importlib" not in done.stderr
    assert missing("suiren.nn", "zzzz", ["Linear"]).endswith("Suiren has no torch.nn.zzzz (yet)")


def test_child_processes_have_the_hook(tmp_path):
    script = write(tmp_path, """
        import multiprocessing, sys
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Squares(Dataset):
            def __len__(self): return 4
            def __getitem__(self, i): return torch.tensor([i * i])

        def job(queue, method): queue.put((method, torch.__version__, "suiren" in sys.modules))

        if __name__ == "__main__":
            for method in multiprocessing.get_all_start_methods():
                loader = DataLoader(Squares(), 2, num_workers=1, multiprocessing_context=method)
                print(method, [batch.flatten().tolist() for batch in loader])
                context = multiprocessing.get_context(method)
                queue = context.SimpleQueue()
                process = context.Process(target=job, args=(queue, method))
                process.start()
                assert queue.get() == (method, torch.__version__, True)
                process.join()
        """)  # fmt: skip
    done = start(script, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {line.partition(" ")[2] for line in done.stdout.splitlines()} == {"[[0, 1], [4, 9]]"}


def test_install_and_uninstall_in_a_process(tmp_path):
    script = write(tmp_path, """
        import sys, suiren
        from multiprocessing import spawn
        before, own = spawn.get_preparation_data, suiren.__version__
        suiren.install(); suiren.install()
        import torch.nn as nn
        assert nn is suiren.nn and torch_is_there()
        suiren.uninstall(); suiren.uninstall()
        assert spawn.get_preparation_data is before and suiren.__version__ == own
        assert not torch_is_there()
        sys.modules["torch"] = type(sys)("torch")
        try:
            suiren.install()
        except RuntimeError as error:
            print(str(error)[:48])
        """.replace("torch_is_there()", "('torch' in sys.modules)"))  # fmt: skip
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": HOME})  # fmt: skip
    assert done.stdout == "suiren.install(): torch is imported already, fro\n", done.stderr


def test_a_script_prints_the_same_under_pytorch(tmp_path):
    pytest.importorskip("torch")
    script = write(tmp_path, """
        import torch
        from torch import nn, optim
        from torch.distributions import Categorical, Gamma
        torch.manual_seed(0)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = torch.compile(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)),
                              disable=True).to(device)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(32, 4)
        for step in range(20):
            loss = (model(x).squeeze() - x[:, 0]).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"{loss.item():.4f}")
        print(Categorical(torch.tensor([0.2, 0.3, 0.5])).sample((6,)))
        print(Gamma(torch.tensor([0.5, 3.0]), 1.0).sample())
        print(torch.func.grad(lambda t: (t**3).sum())(torch.tensor([1.0, 2.0])))
        """)  # fmt: skip
    theirs = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert theirs.returncode == 0, theirs.stderr
    ours = start(script, folder=tmp_path)
    assert (ours.stdout, ours.stderr) == (theirs.stdout, "")


def test_versions_compare_as_versions():
    version = TorchVersion("2.13.0+suiren0.1.0")
    assert version > "2.9" and version >= (1, 10) and version >= "2.13" and version < "3"
    assert version == "2.13.0+suiren0.1.0" and version != "2.13.0" and version > "2.13.0.dev1"
    assert TorchVersion("2.0.0rc1") < "2.0.0" < TorchVersion("2.0.0.post1")
    assert version.split(".")[0] == "2" and hash(version) == hash(str(version))


def test_a_device_as_a_context():
    with suiren.device("cpu") as here:
        assert suiren.ones(1).device == here
    with pytest.raises(AssertionError, match="not compiled with CUDA"), suiren.device("cuda"):
        pass
    for name in ("xpu", "mps"):
        with pytest.raises(NotImplementedError, match=name), suiren.device(name):
            pass
