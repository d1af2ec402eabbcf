"""Image classifiers: torchvision's model zoo, and three small models by name.

`resnet18(weights="DEFAULT")` or `get_model("resnet18", weights="DEFAULT")` gives a model with
published weights, `resnet18()` one with freshly drawn ones: PyTorch's own for the same seed. Names
of classes, arguments and tensors are torchvision's. `cnn`, `cnn4` and `mlp` are what
`suiren train` uses unless told otherwise.
"""

# ruff: noqa: F401, F403 (what is imported here is here for users; __all__ of each module says what)
# As in torchvision, `models.alexnet` is the builder, which hides the module of that name.
from suiren.vision.models._api import (
    Weights,
    WeightsEnum,
    get_model_weights,
    get_weight,
)
from suiren.vision.models.alexnet import *
from suiren.vision.models.convnext import *
from suiren.vision.models.densenet import *
from suiren.vision.models.efficientnet import *
from suiren.vision.models.googlenet import *
from suiren.vision.models.inception import *
from suiren.vision.models.mobilenet import *
from suiren.vision.models.registry import (
    get_model,
    get_model_builder,
    list_models,
    register_model,
)
from suiren.vision.models.resnet import *
from suiren.vision.models.shufflenetv2 import *
from suiren.vision.models.small import CNN4, MLP, SmallCNN
from suiren.vision.models.squeezenet import *
from suiren.vision.models.vgg import *
from suiren.vision.models.vision_transformer import *
