"""Image classifiers by name: `get_model("cnn", ...)`.

The three functions carry torchvision's names (`torchvision.models.get_model`, `list_models`,
`register_model`). Every builder takes `channels`, `image_size` and `num_classes`.
"""

from suiren.vision.models.registry import get_model, list_models, register_model
from suiren.vision.models.small import MLP, SmallCNN

__all__ = ["MLP", "SmallCNN", "get_model", "list_models", "register_model"]
