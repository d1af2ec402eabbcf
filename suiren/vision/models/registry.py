"""The table from a model's name to its builder; `suiren train --model` chooses from it."""

from collections.abc import Callable
from typing import Any

from suiren.nn import Module

_builders: dict[str, Callable[..., Module]] = {}


def register_model(
    name: str,
) -> Callable[[Callable[..., Module]], Callable[..., Module]]:
    """A decorator that enters a class or function under `name`.

    Raises:
        ValueError: the name is taken.
    """

    def enter(builder: Callable[..., Module]) -> Callable[..., Module]:
        if name in _builders:
            raise ValueError(f"register_model() got {name!r}, which is already registered")
        _builders[name] = builder
        return builder

    return enter


def list_models() -> list[str]:
    """The registered names, sorted."""
    return sorted(_builders)


def get_model(name: str, **config: Any) -> Module:
    """A new model with freshly drawn weights; `config` goes to its builder.

    Raises:
        ValueError: no model has this name.

    Example:
        >>> from suiren.vision.models import get_model
        >>> model = get_model("cnn", channels=1, image_size=8, num_classes=10)
        >>> sum(parameter.numel() for parameter in model.parameters())
        9930
    """
    if name not in _builders:
        raise ValueError(f"Unknown model {name!r}; there are {', '.join(list_models())}")
    return _builders[name](**config)
