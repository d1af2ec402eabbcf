"""The values that options and a run's config.json may take, checked in one place.

Each checker takes a value as argparse or JSON gives it and returns it, or raises
argparse.ArgumentTypeError with the rule that it breaks.
"""

import argparse
import math
from typing import Any

import suiren as torch
from suiren.vision.models import list_models, small

SMALLEST_IMAGE = 4  # SmallCNN needs four pixels to halve
LARGEST_IMAGE = 512

# Learning rates that reach 0.98 on the digits in 15 epochs of batches of 64.
DEFAULT_LR = {"adagrad": 0.02, "adam": 0.003, "adamw": 0.003, "rmsprop": 0.001, "sgd": 0.05}

SCHEDULES = ("none", "step", "cosine", "onecycle")
TASKS = ("classify", "keypoints")
LANGUAGES = ("en", "zh")


def integer(value: Any, least: int, most: int | None = None) -> int:
    """`value` as an int between `least` and `most`."""
    try:
        number = int(value)
        exact = not isinstance(value, (bool, float)) or (
            isinstance(value, float) and value == number
        )
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {value!r}")
    if number < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {number}")
    if most is not None and number > most:
        raise argparse.ArgumentTypeError(f"must be at most {most}, got {number}")
    return number


def epochs(value: Any) -> int:
    """A number of epochs: 1 or more."""
    return integer(value, 1)


def batch_size(value: Any) -> int:
    """Images in a batch: 1 or more."""
    return integer(value, 1)


def image_size(value: Any) -> int:
    """Height and width in pixels: 4 to 512."""
    return integer(value, SMALLEST_IMAGE, LARGEST_IMAGE)


def seed(value: Any) -> int:
    """A seed: 0 to 2**63 - 1."""
    return integer(value, 0, 2**63 - 1)


def top(value: Any) -> int:
    """How many classes to print: 1 or more."""
    return integer(value, 1)


def learning_rate(value: Any) -> float:
    """A learning rate: positive and finite."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number > 0) or isinstance(value, bool):
        raise argparse.ArgumentTypeError(f"must be a positive number, got {value!r}")
    return number


def count(value: Any) -> int:
    """How many: 1 or more."""
    return integer(value, 1)


def workers(value: Any) -> int:
    """Processes beside this one: 0 or more."""
    return integer(value, 0)


def weight_decay(value: Any) -> float:
    """A weight decay: not negative, and finite."""
    return 0.0 if value in (0, "0", "0.0") else learning_rate(value)


def model(value: Any) -> str:
    """The name of a registered model."""
    names = list_models()
    if value not in names:
        import difflib

        near = difflib.get_close_matches(str(value), names, 3, 0.5)
        raise argparse.ArgumentTypeError(
            f"there is no model {value!r}; choose from {', '.join(list_models(small))} or a model "
            f"of suiren.vision such as {', '.join(near or ['resnet18'])}"
        )
    return str(value)


def usual_size(name: str) -> int:
    """Height and width that torchvision's model of this name is used with."""
    return 299 if name == "inception_v3" else 224


def schedule(value: Any) -> str:
    """The name of a schedule of learning rates."""
    return _one_of(value, list(SCHEDULES), "schedule")


def task(value: Any) -> str:
    """What is learned of an image."""
    return _one_of(value, list(TASKS), "task")


def language(value: Any) -> str:
    """The language of a report."""
    return _one_of(value, list(LANGUAGES), "language")


def optimizer(value: Any) -> str:
    """The name of an optimizer."""
    return _one_of(value, sorted(DEFAULT_LR), "optimizer")


def _one_of(value: Any, names: list[str], what: str) -> str:
    if value not in names:
        raise argparse.ArgumentTypeError(
            f"there is no {what} {value!r}; choose from {', '.join(names)}"
        )
    return value


def default_lr(optimizer: str, model: str) -> float:
    """The learning rate where none is given; torchvision's models take a third of the others'."""
    rate = DEFAULT_LR[optimizer]
    return rate if model in list_models(small) else round(rate / 3, 6)


def make_optimizer(name: str, parameters: Any, lr: float, weight_decay: float = 0.0) -> Any:
    """The optimizer called `name` in DEFAULT_LR over `parameters`; sgd has momentum 0.9."""
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=weight_decay)
    makers = {
        "adagrad": torch.optim.Adagrad,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
    }
    return makers[name](parameters, lr=lr, weight_decay=weight_decay)
