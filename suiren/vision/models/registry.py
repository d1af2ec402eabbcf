"""The table from a model's name to its builder: `get_model("resnet18", weights="DEFAULT")`.

Names, arguments and errors are those of torchvision's "Models and pre-trained weights" page. The
command line chooses among the models of `suiren.vision.models.small` alone.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from suiren import nn

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

builders: dict[str, Callable[..., nn.Module]] = {}


def register_model(name: str | None = None) -> Callable[[Builder], Builder]:
    """A decorator that enters a class or function under `name`, else under its own.

    Raises:
        ValueError: the name is taken.
    """

    def enter(builder: Builder) -> Builder:
        key = getattr(builder, "__name__", "") if name is None else name
        if key in builders:
            raise ValueError(f"register_model() got {key!r}, which is already registered")
        builders[key] = builder
        return builder

    return enter


def list_models(
    module: ModuleType | None = None,
    include: Iterable[str] | str | None = None,
    exclude: Iterable[str] | str | None = None,
) -> list[str]:
    """The registered names, sorted.

    Args:
        module: only models that are defined in this module (`suiren.vision.models.resnet`).
        include: only names that match one of these patterns (`*` and `?` stand for anything).
        exclude: no names that match one of these.

    Example:
        >>> from suiren.vision.models import list_models
        >>> list_models(include="resnet*", exclude=["resnet1??"])
        ['resnet18', 'resnet34', 'resnet50']
    """
    names = list(builders)
    if module is not None:
        names = [name for name in names if builders[name].__module__ == module.__name__]
    if include is not None:
        names = [name for name in names if _matches(name, include)]
    if exclude is not None:
        names = [name for name in names if not _matches(name, exclude)]
    return sorted(names)


def _matches(name: str, patterns: Iterable[str] | str) -> bool:
    if isinstance(patterns, str):
        patterns = [patterns]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def get_model_builder(name: str) -> Callable[..., nn.Module]:
    """The function or class that makes the model of this name; capitals do not matter.

    Raises:
        ValueError: no model has this name.
    """
    found = builders.get(name) or builders.get(name.lower())
    if found is None:
        raise ValueError(f"Unknown model {name!r}; there are {', '.join(list_models())}")
    return found


def get_model(name: str, **config: Any) -> nn.Module:
    """A new model; `config` goes to its builder. Weights are drawn anew unless it says `weights=`.

    Raises:
        ValueError: no model has this name.

    Example:
        >>> from suiren.vision.models import get_model
        >>> model = get_model("cnn", channels=1, image_size=8, num_classes=10)
        >>> sum(parameter.numel() for parameter in model.parameters())
        9930
    """
    return get_model_builder(name)(**config)
