"""The examples: each runs to its end under `suiren run`, draws, and agrees with PyTorch.

With PyTorch installed every result is compared with what the same script prints under it; without,
with what was recorded. All run with `--quick`, in processes of their own as readers start them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((HOME / "examples").glob("[0-9]*.py"))

# The numbers of the line "Result: ..." under PyTorch 2.13 with --quick.
RECORDED = {
    "01_tensors_and_numpy": [0.7159, 0.6148],
    "02_gradient_descent": [10.0474, 3.9206, 1.115],
    "03_linear_layer": [18.8498, 27, 0.1273],
    "04_activation_functions": [12, 4134.13, 2131.19],
    "05_losses_and_optimizers": [0.693, 1.861, 1.721, 8.0045, 6.0708],
    "06_convolution": [1792, 1728, 0.543],
    "07_pooling_and_normalisation": [-0.5632, -0.4412, 0.0152, -0.209],
    "08_vgg11": [132_863_336, 734_691_328, 0.007957],
    "09_resnet18": [11_689_512, 0.25403, 1.04],
    "10_fashion_mnist": [2.3027, 0.1075, 0.0778],
    "11_facial_keypoints": [3.032, 5.143, 5.929],
    "12_gan": [1.345, 0.818, 0.444, 0.307],
    "13_logistic_and_softmax_regression": [0.1702, 0.4057, 0.945, 0.9194],
    "14_fine_tuning": [0.5222, 0.5972, 0.5611],
    "15_images_of_many_sizes": [47, 1.1107, 0.4167],
    "16_reading_characters": [12, 4, 12],
    "17_rnn_reads_images": [0.3028, 0.1361, 0.2778],
    "18_autoencoder": [0.09716, 0.08564],
    "19_matrix_multiplication": [1e-05, 3],
}
# Those that train a network in float32 amplify the last bit; how far the results may be apart.
TOLERANCES = {
    "08_vgg11": 2e-6,
    "10_fashion_mnist": 0.05,
    "11_facial_keypoints": 0.3,
    "12_gan": 0.01,
    "14_fine_tuning": 0.05,
    "15_images_of_many_sizes": 0.05,
    "16_reading_characters": 2,
    "17_rnn_reads_images": 0.05,
}
EXACTLY = 1.5e-4  # the printed numbers have four decimals or so


ALL_IN_ONE = """
import runpy, sys
scripts = sys.argv[1:]
sys.path.insert(0, scripts[0].rpartition("/")[0])
for script in scripts:
    print("\\f", end="")
    sys.argv = [script, "--quick"]
    runpy.run_path(script, run_name="__main__")
    print(end="", flush=True)
"""


def run(command, folder):
    """The output of a process in `folder`."""
    finished = subprocess.run(
        command,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(HOME),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


def numbers_of(output):
    """The numbers of the result, the last line that an example prints."""
    line = output.rstrip().splitlines()[-1]
    assert line.startswith("Result: "), output
    numbers = re.findall(r"(?<![\w-])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w-])", line)
    return [float(number) for number in numbers]


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_example(script, tmp_path):
    output = run([sys.executable, "-m", "suiren", "run", str(script), "--quick"], tmp_path)
    picture = tmp_path / "pictures" / f"{script.stem}.png"
    assert f"Picture: {Path('pictures') / picture.name}" in output
    assert picture.stat().st_size > 5_000
    assert numbers_of(output) == pytest.approx(RECORDED[script.stem], **tolerance(script))


@pytest.fixture(scope="module")
def under_pytorch(tmp_path_factory):
    """What the examples print under PyTorch. One process for all: importing it takes longest."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("pytorch")
    output = run([sys.executable, "-c", ALL_IN_ONE, *map(str, EXAMPLES)], folder)
    outputs = output.split("\f")[1:]
    return dict(zip([script.stem for script in EXAMPLES], map(numbers_of, outputs), strict=True))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_record_is_pytorch(script, under_pytorch):
    assert under_pytorch[script.stem] == pytest.approx(RECORDED[script.stem], **tolerance(script))


def tolerance(script):
    return {"rel": 2e-3, "abs": TOLERANCES.get(script.stem, EXACTLY)}


def test_every_example_is_listed_in_both_languages():
    for page in ("README.md", "README.zh-CN.md"):
        text = (HOME / "examples" / page).read_text(encoding="utf-8")
        for script in EXAMPLES:
            assert f"]({script.name})" in text, f"{script.name} is not in examples/{page}"


def test_examples_tell_what_is_learned_and_how_long_it_takes():
    for script in EXAMPLES:
        text = script.read_text(encoding="utf-8").split('"""')[1]
        assert "You learn" in text and "import torch" in script.read_text(encoding="utf-8")
        assert re.search(r"\btakes?\b", text, re.IGNORECASE), script.name
