"""Published weights: what a checkpoint is (`Weights`), the enums of them, and their builders.

A model's weights are the members of an enum, `ResNet18_Weights.IMAGENET1K_V1`; a builder takes
one by `weights=`, by the member, its name, or in the old way with `pretrained=True`. Source:
torchvision's "Models and pre-trained weights" page, from which the figures in `meta` are too.
Files come from PyTorch's server through `suiren.hub` into the folder that PyTorch itself uses.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from suiren import nn
from suiren.hub import load_state_dict_from_url
from suiren.vision.models._presets import ImageClassification
from suiren.vision.models.registry import get_model_builder, register_model

_SERVER = "https://download.pytorch.org/models/"

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Weights:
    """A published checkpoint.

    Args:
        url: where the file is; its name ends with the first digits of its SHA-256.
        transforms: makes the preprocessing that the weights expect.
        meta: published figures: "num_params", "min_size" (height and width in pixels) and
            "_metrics" (accuracy in percent on ImageNet-1K's 50,000 validation images).
    """

    url: str
    transforms: Callable[..., Any]
    meta: Mapping[str, Any]


def imagenet(
    file: str,
    num_params: int,
    acc1: float,
    acc5: float,
    min_size: tuple[int, int] = (1, 1),
    *,
    transforms: Callable[..., Any] = ImageClassification,
    **preset: Any,
) -> Weights:
    """Weights trained to tell the 1,000 classes of ImageNet-1K; `preset` goes to `transforms`."""
    return Weights(
        url=_SERVER + file,
        transforms=partial(transforms, **{"crop_size": 224, **preset}),
        meta={
            "num_classes": 1000,
            "num_params": num_params,
            "min_size": min_size,
            "_metrics": {"ImageNet-1K": {"acc@1": acc1, "acc@5": acc5}},
        },
    )


class WeightsEnum(Enum):
    """The base of the enums of weights; each member's value is a :class:`Weights`."""

    @classmethod
    def verify(cls, obj: Any) -> Any:
        """The member that is meant: by a name, by itself, or None for none.

        Raises TypeError for anything else, KeyError for a name that no member has.
        """
        if obj is None or isinstance(obj, cls):
            return obj
        if isinstance(obj, str):
            return cls[obj.removeprefix(f"{cls.__name__}.")]
        raise TypeError(
            f"Invalid Weight class provided; expected {cls.__name__} "
            f"but received {obj.__class__.__name__}."
        )

    def get_state_dict(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        """The tensors, downloaded first if need be; arguments as `load_state_dict_from_url`.

        Only data is read from the file: no code in it can run.
        """
        return load_state_dict_from_url(self.url, *args, **{"weights_only": True, **kwargs})

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}.{self._name_}"

    @property
    def url(self) -> str:
        """Where the file is."""
        return self.value.url

    @property
    def transforms(self) -> Callable[..., Any]:
        """Makes the preprocessing that the weights expect."""
        return self.value.transforms

    @property
    def meta(self) -> Mapping[str, Any]:
        """Published figures of the weights."""
        return self.value.meta


Kind = TypeVar("Kind", bound=Callable[..., nn.Module])


def published(weights: type[WeightsEnum]) -> Callable[[Kind], Kind]:
    """A decorator that registers a builder and reads its `weights` argument.

    The builder is then called with `weights=` a member or None. The forms from before enums still
    work, each with a UserWarning: `pretrained=True`, a bool as `weights`, either one by position.
    """

    def decorate(builder: Kind) -> Kind:
        @functools.wraps(builder)
        def build(*args: Any, **kwargs: Any) -> nn.Module:
            _name_positional(builder.__name__, args, kwargs)
            _read_pretrained(weights, kwargs)
            kwargs["weights"] = weights.verify(kwargs.get("weights"))
            return builder(**kwargs)

        build.weights_class = weights  # type: ignore[attr-defined]
        register_model()(build)
        return build  # type: ignore[return-value]

    return decorate


def _name_positional(builder: str, args: tuple, kwargs: dict[str, Any]) -> None:
    """Enters `weights` and `progress` given by position among the keywords."""
    if not args:
        return
    if len(args) > 2:
        raise TypeError(f"{builder}() takes 2 positional arguments at most, got {len(args)}")
    names = ("pretrained" if "weights" in kwargs else "weights", "progress")[: len(args)]
    warnings.warn(
        f"Using {' and '.join(map(repr, names))} as positional parameter(s) is deprecated since "
        "0.13 and may be removed in the future. Please use keyword parameter(s) instead.",
        stacklevel=3,
    )
    for name, value in zip(names, args, strict=True):
        if name in kwargs:
            raise TypeError(f"{builder}() got multiple values for argument {name!r}")
        kwargs[name] = value


def _read_pretrained(weights: type[WeightsEnum], kwargs: dict[str, Any]) -> None:
    """Turns `pretrained=True`, or a bool as `weights`, into a member."""
    given = kwargs.get("weights")
    if "pretrained" in kwargs:
        warnings.warn(
            "The parameter 'pretrained' is deprecated since 0.13 and may be removed in the "
            "future, please use 'weights' instead.",
            stacklevel=3,
        )
        given = kwargs.pop("pretrained")
    elif given is None or isinstance(given, (str, WeightsEnum)):
        return
    if isinstance(given, (str, WeightsEnum)):
        kwargs["weights"] = given
        return
    first = weights.__members__.get("IMAGENET1K_V1") if given else None
    if given and first is None:
        raise ValueError(
            f"pretrained=True meant weights that {weights.__name__} does not have; give weights="
        )
    meant = "None" if first is None else repr(first)
    more = "" if first is None else (
        f" You can also use `weights={weights.__name__}.DEFAULT` to get the most up-to-date "
        "weights."
    )
    warnings.warn(
        "Arguments other than a weight enum or `None` for 'weights' are deprecated since 0.13 and "
        f"may be removed in the future. The current behavior is equivalent to passing "
        f"`weights={meant}`.{more}",
        stacklevel=3,
    )
    kwargs["weights"] = first


def fix_argument(kwargs: dict[str, Any], name: str, value: Any) -> None:
    """Sets an argument that the weights decide.

    Raises ValueError if the caller wants another value.
    """
    if kwargs.get(name, value) != value:
        raise ValueError(
            f"The parameter '{name}' expected value {value} but got {kwargs[name]} instead."
        )
    kwargs[name] = value


def with_weights(
    make: Callable[..., Model],
    weights: WeightsEnum | None,
    progress: bool,
    *args: Any,
    **kwargs: Any,
) -> Model:
    """A model of `make(*args, **kwargs)`, with the published weights in it unless they are None."""
    if weights is None:
        return make(*args, **kwargs)
    fix_argument(kwargs, "num_classes", weights.meta["num_classes"])
    model = make(*args, **kwargs)
    model.load_state_dict(weights.get_state_dict(progress=progress, check_hash=True))
    return model


def get_model_weights(name: str | Callable[..., nn.Module]) -> type[WeightsEnum]:
    """The enum of weights of a model, by its name or builder.

    Raises ValueError for a model that has none.

    Example:
        >>> from suiren.vision.models import get_model_weights
        >>> get_model_weights("resnet50").DEFAULT
        ResNet50_Weights.IMAGENET1K_V2
    """
    builder = get_model_builder(name) if isinstance(name, str) else name
    found = getattr(builder, "weights_class", None)
    if found is None:
        raise ValueError(f"the model {name!r} has no published weights")
    return found


def get_weight(name: str) -> WeightsEnum:
    """The weights of a full name, "ResNet50_Weights.IMAGENET1K_V2".

    Raises ValueError if there are none of that name.
    """
    kind, dot, member = name.partition(".")
    if not (dot and member):
        raise ValueError(f"Invalid weight name provided: {name!r}; give 'Enum.MEMBER'")
    found = getattr(sys.modules[__package__ or ""], kind, None)
    if not (isinstance(found, type) and issubclass(found, WeightsEnum)):
        raise ValueError(f"The weight enum {kind!r} is unknown: no model has it")
    if member not in found.__members__:
        raise ValueError(f"{kind} has no {member!r}; there are {', '.join(found.__members__)}")
    return found[member]
