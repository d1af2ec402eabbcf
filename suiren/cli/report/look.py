"""What the report shows of images and of the network: pictures as data, filters, feature maps."""

import base64
import io
from typing import Any

import numpy as np

import suiren as torch
from suiren import nn
from suiren.cli.runfolder import RunConfig
from suiren.cli.training import Standardize

MOST_FILTERS, MOST_MAPS, MOST_LAYERS = 64, 16, 5

# Blue over white to red for numbers with a sign; dark blue over green to yellow for those without
# (anchors of matplotlib's viridis).
_SIGNED = np.array(
    [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]]
)
_PLAIN = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])


def image_uri(image: np.ndarray) -> str:
    """A data set's image, uint8 (C, S, S), as the address of a PNG."""
    return picture_uri(image.transpose(1, 2, 0))


def picture_uri(pixels: np.ndarray) -> str:
    """uint8 (H, W, 3) or (H, W, 1) as the address of a PNG that holds it itself."""
    from PIL import Image

    if pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def painted(values: np.ndarray, signed: bool) -> np.ndarray:
    """Numbers (H, W) as colours, uint8 (H, W, 3); signed ones with zero in the middle."""
    anchors = _SIGNED if signed else _PLAIN
    values = np.nan_to_num(values.astype(np.float64))
    if signed:
        most = np.abs(values).max() or 1.0
        shares = (values / most + 1) / 2
    else:
        least, most = values.min(), values.max()
        shares = (values - least) / (most - least or 1.0)
    at = shares * (len(anchors) - 1)
    colours = [np.interp(at, range(len(anchors)), anchors[:, c]) for c in range(3)]
    return np.rint(np.stack(colours, -1)).astype(np.uint8)


def first_filters(model: Any, config: RunConfig) -> tuple[str, np.ndarray] | None:
    """Name and weights (F, C, h, w) of the layer that looks at the image; None if it has none."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module.weight.detach().numpy()
        if isinstance(module, nn.Linear):
            side, channels = config.image_size, config.channels
            if module.in_features == channels * side * side:
                weight = module.weight.detach().numpy()
                return name, weight.reshape(-1, channels, side, side)
            return None
    return None


def filter_pictures(weights: np.ndarray) -> list[np.ndarray]:
    """A picture of each filter: in colour if it looks at three channels, else by sign."""
    pictures = []
    for one in weights[:MOST_FILTERS]:
        if one.shape[0] == 3:
            least, most = one.min(), one.max()
            scaled = (one - least) / (most - least or 1.0)
            pictures.append(np.rint(255 * scaled).astype(np.uint8).transpose(1, 2, 0))
        else:
            pictures.append(painted(one[0], signed=True))
    return pictures


def feature_maps(
    model: Any, config: RunConfig, image: np.ndarray
) -> list[tuple[str, tuple[int, ...], list[np.ndarray]]]:
    """For some convolutions, first to last: name, shape (C, H, W) of what they give for the image
    (C, S, S), and pictures of its first channels."""
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    if not layers:
        return []
    count = min(MOST_LAYERS, len(layers))
    steps = np.linspace(0, len(layers) - 1, count)
    chosen = [layers[int(round(at))] for at in steps]
    seen: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            seen[name] = output.detach().numpy()[0]

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in chosen]
    model.eval()
    try:
        with torch.no_grad():
            batch = torch.from_numpy(np.ascontiguousarray(image[None]))
            model(Standardize(config)(batch)).numpy()
    finally:
        for handle in handles:
            handle.remove()
    return [
        (name, seen[name].shape, [painted(one, signed=False) for one in seen[name][:MOST_MAPS]])
        for name, _ in chosen
        if name in seen and seen[name].shape[-1] > 1
    ]
