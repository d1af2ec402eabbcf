"""The network of a run: made for its images, begun from another's weights, frozen in part.

The head is the last layer whose outputs are the run's classes or coordinates; all before it is the
backbone. Transfer learning takes the backbone from a file and begins the head anew.
"""

import math
from pathlib import Path
from typing import Any

import suiren as torch
from suiren import nn
from suiren.cli import options
from suiren.cli.errors import CommandError, first_line
from suiren.cli.runfolder import KEYPOINTS, RunConfig
from suiren.vision.models import get_model, list_models, small

# What the published weights of torchvision's models were trained with.
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Parts that only help while training from the beginning; they are left out.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def is_small(name: str) -> bool:
    """Whether it is one of our models that fit themselves to any size, not torchvision's."""
    return name in list_models(small)


def outputs(config: RunConfig) -> int:
    """How many numbers the network gives for an image."""
    return 2 * config.points if config.task == KEYPOINTS else len(config.classes)


def model_channels(config: RunConfig) -> int:
    """Channels that the network takes: torchvision's models always take three."""
    return config.channels if is_small(config.model) else 3


def make_model(config: RunConfig) -> Any:
    """The run's model with freshly drawn weights.

    Raises:
        CommandError: it does not take images of the run's size.
    """
    name, number = config.model, outputs(config)
    if is_small(name):
        side = config.image_size
        return get_model(name, channels=config.channels, image_size=side, num_classes=number)
    settings: dict[str, Any] = {"num_classes": number}
    if name.startswith("vit_"):
        settings["image_size"] = config.image_size
    if name in ("googlenet", "inception_v3"):
        settings.update(aux_logits=False, init_weights=True)
    if name.startswith("densenet"):
        settings["memory_efficient"] = False
    try:
        model: Any = get_model(name, **settings)
        model.eval()
        shape = (1, model_channels(config), config.image_size, config.image_size)
        with torch.no_grad():
            given = tuple(model(torch.zeros(shape)).shape)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise CommandError(
            f"{name} does not take images of {config.image_size}x{config.image_size} "
            f"({first_line(error)}); give another --image-size, such as "
            f"{options.usual_size(name)}"
        ) from error
    assert given == (1, number), f"{name} gives {given}"
    return model.train()


def head(model: Any, number: int) -> tuple[str, Any]:
    """Name and module of the last layer with `number` outputs."""
    found = [
        (name, module)
        for name, module in model.named_modules()
        if getattr(module, "out_features", getattr(module, "out_channels", None)) == number
    ]
    return found[-1]


def backbone_parameters(model: Any, number: int) -> list[Any]:
    """All parameters but those of the head."""
    _, last = head(model, number)
    own = {id(parameter) for parameter in last.parameters()}
    return [parameter for parameter in model.parameters() if id(parameter) not in own]


def freeze_backbone(model: Any, number: int) -> None:
    """Leave the head alone to be trained."""
    for parameter in backbone_parameters(model, number):
        parameter.requires_grad_(False)


def training_mode(model: Any, config: RunConfig) -> None:
    """`model.train()`, but the averages of a frozen backbone's batch norms do not move."""
    model.train()
    if config.freeze:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def make_optimizer(model: Any, config: RunConfig) -> Any:
    """The run's optimizer: over the head alone, or with a rate of its own for the backbone."""
    if config.freeze:
        _, last = head(model, outputs(config))
        groups: Any = list(last.parameters())
    elif config.backbone_lr is not None:
        backbone = backbone_parameters(model, outputs(config))
        _, last = head(model, outputs(config))
        groups = [
            {"params": list(last.parameters())},
            {"params": backbone, "lr": config.backbone_lr},
        ]
    else:
        groups = model.parameters()
    return options.make_optimizer(config.optimizer, groups, config.lr, config.weight_decay)


def rate_factor(config: RunConfig, step: int, steps: int) -> float:
    """What the learning rates are multiplied with in step `step` of `steps` in all.

    - none: 1.
    - step: a tenth after each third of the run.
    - cosine: from 1 along half a wave to 0.
    - onecycle: up from 1/25 over the first three tenths and down to 1/250,000 along half waves, as
      PyTorch's OneCycleLR goes (Smith and Topin, "Super-Convergence", 2017).
    """
    share = step / max(1, steps)
    if config.schedule == "step":
        return 0.1 ** math.floor(3 * share)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * share))
    if config.schedule == "onecycle":
        top = 0.3 * steps - 1
        if step <= top:
            return _half_wave(1 / 25, 1.0, step / max(top, 1e-9))
        return _half_wave(1.0, 1 / 250_000, (step - top) / max(steps - 1 - top, 1e-9))
    return 1.0


def _half_wave(begin: float, end: float, share: float) -> float:
    return end + (begin - end) / 2 * (1 + math.cos(math.pi * share))


def read_weights(path: Path) -> tuple[dict[str, Any], bool]:
    """The state dict in a file, and whether a run of ours wrote the file.

    A state dict by itself is taken, or one that is called `model` or `state_dict` in a dict.
    Only data is read from the file: nothing that it names is called.

    Raises:
        CommandError: no such file, or no state dict in it.
    """
    if not path.is_file():
        raise CommandError(f"there is no file {path}")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # damaged bytes raise almost anything inside the unpickler
        raise CommandError(f"cannot read weights from {path}: {first_line(error)}") from error
    ours = isinstance(content, dict) and "random_state" in content and "model" in content
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not any(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise CommandError(f"{path} holds no state dict: tensors by the names of a model")
    # nn.DataParallel puts its own name in front.
    return {str(name).removeprefix("module."): value for name, value in content.items()}, ours


def begin_from(model: Any, config: RunConfig, path: Path) -> tuple[int, str]:
    """Take the weights of all but the head from `path`.

    Returns:
        How many tensors were taken, and the name of the head, which was not.

    Raises:
        CommandError: the file's weights are not those of this model.
    """
    state, _ = read_weights(path)
    last, _ = head(model, outputs(config))
    wanted = model.state_dict()
    given = {
        name: value
        for name, value in state.items()
        if not name.startswith((last + ".", *_AUXILIARY))
    }
    problems = []
    for name, value in wanted.items():
        if name.startswith(last + ".") or name.endswith("num_batches_tracked"):
            continue
        if name not in given:
            problems.append(f"{name} is missing")
        elif tuple(given[name].shape) != tuple(value.shape):
            shapes = tuple(given[name].shape), tuple(value.shape)
            problems.append(f"{name} has the shape {shapes[0]}, not {shapes[1]}")
    problems += [f"{name} is too much" for name in given if name not in wanted]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise CommandError(f"{path} does not fit {config.model}: {problems[0]}{more}")
    model.load_state_dict(given, strict=False)
    return len(given), last
