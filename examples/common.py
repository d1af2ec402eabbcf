"""What the examples share: their options, the digits, and pictures.

Nothing here is about learning; the examples themselves hold that. Everything runs on PyTorch and
on Suiren alike.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import torch


def options(text, epochs=None):
    """A parser with the options that every example has; `text` is what its --help shows."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if epochs is not None:
        parser.add_argument(
            "--epochs", type=int, default=epochs, help=f"times through the data ({epochs})"
        )
    parser.add_argument("--quick", action="store_true", help="seconds only, to see that it works")
    parser.add_argument(
        "--pictures", type=Path, default=Path("pictures"), metavar="FOLDER", help="(pictures)"
    )
    return parser


def digits():
    """1,797 handwritten digits: training images and labels, test images and labels.

    Images are float32 of shape (N, 1, 8, 8), from 0 (paper) to 1 (ink); labels are int64 from 0
    to 9. Every fifth image is for testing. Source: UCI Machine Learning Repository, CC BY 4.0.
    """
    with np.load(_digits_file()) as archive:
        images = torch.tensor(archive["images"], dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.tensor(archive["labels"].astype(np.int64))
    testing = torch.arange(len(labels)) % 5 == 0
    return images[~testing], labels[~testing], images[testing], labels[testing]


def _digits_file():
    """The file in this repository or in the installed package, found without importing that."""
    folders = [Path(__file__).resolve().parent.parent / "suiren"]
    package = importlib.util.find_spec("suiren")
    if package is not None:
        folders += map(Path, package.submodule_search_locations)
    for folder in folders:
        file = folder / "vision" / "data" / "digits.npz"
        if file.is_file():
            return file
    raise SystemExit("The digits are a part of Suiren, which was not found: pip install suiren.")


def photograph(path=None, height=256):
    """A grey photograph, float32 of shape (H, W) from 0 (black) to 1 (white), and its name.

    Without a path it is the portrait of Grace Hopper (U.S. Navy, public domain) that comes with
    matplotlib; where matplotlib is missing, a handwritten digit stands in.
    """
    if path is None:
        package = importlib.util.find_spec("matplotlib")
        if package is None:
            return digits()[0][0, 0], "a digit"
        (folder,) = package.submodule_search_locations
        path = Path(folder) / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    from PIL import Image

    image = Image.open(path).convert("L")
    image = image.resize((round(image.width * height / image.height), height))
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255), Path(path).stem


def batches(count, size):
    """Shuffled positions 0 to count - 1, `size` at a time."""
    return torch.randperm(count).split(size)


def pyplot():
    """matplotlib.pyplot, set up for files; None, with a message, where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("No picture: matplotlib is not installed (pip install matplotlib).")
        return None
    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "image.cmap": "gray",
            "legend.frameon": False,
        }
    )
    return pyplot


def show(axes, image, title="", **how):
    """Draw an image, a tensor of shape (H, W) or (1, H, W), without ticks."""
    axes.imshow(image.detach().squeeze().numpy(), **how)
    axes.set_title(title)
    axes.set_axis_off()


def save(figure, folder, script):
    """Write the figure to a file named after the script."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{Path(script).stem}.png"
    figure.savefig(path)
    print(f"Picture: {path}")
