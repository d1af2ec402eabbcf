"""Vision transformers: ViT-B/16, B/32, L/16, L/32 and H/14.

Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words: Transformers for Image Recognition at
Scale", arXiv:2010.11929; SWAG weights: Singh et al. 2022, arXiv:2201.08371. Layers, their names
and their initial values are torchvision's.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import suiren as torch
from suiren import Tensor, nn
from suiren.vision.models._api import WeightsEnum, fix_argument, imagenet, published, with_weights
from suiren.vision.ops.misc import MLP, Conv2dNormActivation

__all__ = [
    "ViT_B_16_Weights", "ViT_B_32_Weights", "ViT_H_14_Weights", "ViT_L_16_Weights",
    "ViT_L_32_Weights", "VisionTransformer", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16",
    "vit_l_32",
]  # fmt: skip

Norm = Callable[..., nn.Module]
_layer_norm: Norm = partial(nn.LayerNorm, eps=1e-6)


class ConvStemConfig(NamedTuple):
    """A convolution before the patches (Xiao et al. 2021, arXiv:2106.14881)."""

    out_channels: int
    kernel_size: int
    stride: int
    norm_layer: Norm = nn.BatchNorm2d
    activation_layer: Norm = nn.ReLU


class MLPBlock(MLP):
    """Two linear layers with GELU between, on each token."""

    _version = 2

    def __init__(self, in_dim: int, mlp_dim: int, dropout: float) -> None:
        super().__init__(
            in_dim, [mlp_dim, in_dim], activation_layer=nn.GELU, inplace=None, dropout=dropout
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=1e-6)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        version = local_metadata.get("version")
        if version is None or version < 2:  # the published files are of version 1
            for old, new in (("linear_1", "0"), ("linear_2", "3")):
                for kind in ("weight", "bias"):
                    name = f"{prefix}{old}.{kind}"
                    if name in state_dict:
                        state_dict[f"{prefix}{new}.{kind}"] = state_dict.pop(name)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class EncoderBlock(nn.Module):
    """Attention among the tokens and an MLP on each, both after a norm and beside the identity.

    Shape: (N, tokens, hidden_dim) to the same.
    """

    def __init__(
        self,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float,
        attention_dropout: float,
        norm_layer: Norm = _layer_norm,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ln_1 = norm_layer(hidden_dim)
        self.self_attention = nn.MultiheadAttention(
            hidden_dim, num_heads, dropout=attention_dropout, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = norm_layer(hidden_dim)
        self.mlp = MLPBlock(hidden_dim, mlp_dim, dropout)

    def forward(self, input: Tensor) -> Tensor:
        """The tokens after both steps."""
        if input.dim() != 3:
            raise ValueError(
                f"Expected (batch_size, seq_length, hidden_dim) got {tuple(input.shape)}"
            )
        x = self.ln_1(input)
        x, _ = self.self_attention(x, x, x, need_weights=False)
        x = self.dropout(x) + input
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Tokens with their places added, then `num_layers` blocks and a norm."""

    def __init__(
        self,
        seq_length: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float,
        attention_dropout: float,
        norm_layer: Norm = _layer_norm,
    ) -> None:
        super().__init__()
        places = torch.empty(1, seq_length, hidden_dim).normal_(std=0.02)
        self.pos_embedding = nn.Parameter(places)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            OrderedDict(
                (
                    f"encoder_layer_{i}",
                    EncoderBlock(
                        num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer
                    ),
                )
                for i in range(num_layers)
            )
        )
        self.ln = norm_layer(hidden_dim)

    def forward(self, input: Tensor) -> Tensor:
        """(N, tokens, hidden_dim) to the same."""
        if input.dim() != 3:
            raise ValueError(
                f"Expected (batch_size, seq_length, hidden_dim) got {tuple(input.shape)}"
            )
        return self.ln(self.layers(self.dropout(input + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """Patches of an image as the tokens of a transformer's encoder.

    Args:
        image_size: S, height and width of the images in pixels, a multiple of patch_size.
        patch_size: height and width of a patch in pixels.
        num_layers, num_heads, hidden_dim, mlp_dim: of the encoder.
        representation_size: features of a layer with tanh before the last; None for no such layer.
        norm_layer: default LayerNorm with eps 1e-6.
        conv_stem_configs: convolutions in place of the cutting into patches.

    Shape: (N, 3, S, S) to (N, num_classes) logits. Raises ValueError for images of another size.

    Example:
        >>> import suiren as torch
        >>> model = VisionTransformer(8, 4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16,
        ...                           num_classes=5)
        >>> model(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        num_classes: int = 1000,
        representation_size: int | None = None,
        norm_layer: Norm = _layer_norm,
        conv_stem_configs: list[ConvStemConfig] | None = None,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(
                "Input shape indivisible by patch size: VisionTransformer got "
                f"image_size={image_size}, patch_size={patch_size}"
            )
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.num_classes = num_classes
        self.representation_size = representation_size
        self.norm_layer = norm_layer
        if conv_stem_configs is None:
            self.conv_proj: nn.Module = nn.Conv2d(
                3, hidden_dim, kernel_size=patch_size, stride=patch_size
            )
        else:
            self.conv_proj = _stem(conv_stem_configs, hidden_dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_dim))
        seq_length = (image_size // patch_size) ** 2 + 1  # patches and the class token
        self.encoder = Encoder(
            seq_length,
            num_layers,
            num_heads,
            hidden_dim,
            mlp_dim,
            dropout,
            attention_dropout,
            norm_layer,
        )
        self.seq_length = seq_length
        heads: OrderedDict[str, nn.Module] = OrderedDict()
        if representation_size is None:
            heads["head"] = nn.Linear(hidden_dim, num_classes)
        else:
            heads["pre_logits"] = nn.Linear(hidden_dim, representation_size)
            heads["act"] = nn.Tanh()
            heads["head"] = nn.Linear(representation_size, num_classes)
        self.heads = nn.Sequential(heads)
        self._init_weights()

    def _init_weights(self) -> None:
        last = self.conv_proj if isinstance(self.conv_proj, nn.Conv2d) else (
            self.conv_proj.conv_last
        )
        if isinstance(self.conv_proj, nn.Conv2d):
            fan_in = last.in_channels * last.kernel_size[0] * last.kernel_size[1]
            nn.init.trunc_normal_(last.weight, std=math.sqrt(1 / fan_in))
        else:
            nn.init.normal_(last.weight, mean=0.0, std=math.sqrt(2.0 / last.out_channels))
        if last.bias is not None:
            nn.init.zeros_(last.bias)
        if self.representation_size is not None:
            hidden = self.heads.pre_logits
            nn.init.trunc_normal_(hidden.weight, std=math.sqrt(1 / hidden.in_features))
            nn.init.zeros_(hidden.bias)
        nn.init.zeros_(self.heads.head.weight)
        nn.init.zeros_(self.heads.head.bias)

    def _process_input(self, x: Tensor) -> Tensor:
        """The patches of images (N, 3, S, S) as tokens (N, patches, hidden_dim)."""
        batch, _, height, width = x.shape
        if height != self.image_size or width != self.image_size:
            which, got = ("height", height) if height != self.image_size else ("width", width)
            raise ValueError(
                f"Wrong image {which}! Expected {self.image_size} but got {got}!"
            )
        x = self.conv_proj(x)  # N, hidden_dim, S / patch, S / patch
        x = x.reshape(batch, self.hidden_dim, -1)  # N, hidden_dim, patches
        return x.permute(0, 2, 1)  # N, patches, hidden_dim

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, S, S)."""
        x = self._process_input(x)
        token = self.class_token.expand(x.shape[0], -1, -1)  # N, 1, hidden_dim
        x = self.encoder(torch.cat([token, x], dim=1))
        return self.heads(x[:, 0])


def _stem(configs: list[ConvStemConfig], hidden_dim: int) -> nn.Sequential:
    stem = nn.Sequential()
    width = 3
    for i, layer in enumerate(configs):
        stem.add_module(
            f"conv_bn_relu_{i}",
            Conv2dNormActivation(
                width,
                layer.out_channels,
                kernel_size=layer.kernel_size,
                stride=layer.stride,
                norm_layer=layer.norm_layer,
                activation_layer=layer.activation_layer,
            ),
        )
        width = layer.out_channels
    stem.add_module("conv_last", nn.Conv2d(width, hidden_dim, kernel_size=1))
    return stem


def interpolate_embeddings(
    image_size: int,
    patch_size: int,
    model_state: Mapping[str, Tensor],
    interpolation_mode: str = "bicubic",
    reset_heads: bool = False,
) -> "OrderedDict[str, Tensor]":
    """The state of a VisionTransformer for images of another size.

    The places of the patches are resized as a picture with hidden_dim channels. reset_heads leaves
    out the classifier. Raises ValueError unless the places form a square. Source:
    torchvision.models.vision_transformer.interpolate_embeddings.
    """
    key = "encoder.pos_embedding"
    embedding = model_state[key]  # 1, patches + 1, hidden_dim
    batch, tokens, hidden_dim = embedding.shape
    if batch != 1:
        raise ValueError(f"Unexpected position embedding shape: {tuple(embedding.shape)}")
    side = math.isqrt(tokens - 1)
    if side * side != tokens - 1:
        raise ValueError(f"the number of patches, {tokens - 1}, is not a perfect square")
    state = OrderedDict(
        (name, tensor)
        for name, tensor in model_state.items()
        if not (reset_heads and name.startswith("heads"))
    )
    wanted = image_size // patch_size
    if wanted != side:
        token, places = embedding[:, :1], embedding[:, 1:]
        picture = places.permute(0, 2, 1).reshape(1, hidden_dim, side, side)
        picture = nn.functional.interpolate(
            picture, size=wanted, mode=interpolation_mode, align_corners=True
        )
        places = picture.reshape(1, hidden_dim, wanted * wanted).permute(0, 2, 1)
        state[key] = torch.cat([token, places], dim=1)  # 1, wanted * wanted + 1, hidden_dim
    return state


class ViT_B_16_Weights(WeightsEnum):
    """Published weights of :func:`vit_b_16`; SWAG's are licensed CC-BY-NC 4.0."""

    IMAGENET1K_V1 = imagenet(
        "vit_b_16-c867db91.pth", 86567656, 81.072, 95.318, (224, 224),
    )  # fmt: skip
    IMAGENET1K_SWAG_E2E_V1 = imagenet(
        "vit_b_16_swag-9ac1b537.pth", 86859496, 85.304, 97.65, (384, 384),
        crop_size=384, resize_size=384, interpolation="bicubic",
    )  # fmt: skip
    IMAGENET1K_SWAG_LINEAR_V1 = imagenet(
        "vit_b_16_lc_swag-4e70ced5.pth", 86567656, 81.886, 96.18, (224, 224),
        resize_size=224, interpolation="bicubic",
    )  # fmt: skip
    DEFAULT = IMAGENET1K_V1


class ViT_B_32_Weights(WeightsEnum):
    """Published weights of :func:`vit_b_32`."""

    IMAGENET1K_V1 = imagenet(
        "vit_b_32-d86f8d99.pth", 88224232, 75.912, 92.466, (224, 224),
    )  # fmt: skip
    DEFAULT = IMAGENET1K_V1


class ViT_L_16_Weights(WeightsEnum):
    """Published weights of :func:`vit_l_16`; SWAG's are licensed CC-BY-NC 4.0."""

    IMAGENET1K_V1 = imagenet(
        "vit_l_16-852ce7e3.pth", 304326632, 79.662, 94.638, (224, 224),
        resize_size=242,
    )  # fmt: skip
    IMAGENET1K_SWAG_E2E_V1 = imagenet(
        "vit_l_16_swag-4f3808c9.pth", 305174504, 88.064, 98.512, (512, 512),
        crop_size=512, resize_size=512, interpolation="bicubic",
    )  # fmt: skip
    IMAGENET1K_SWAG_LINEAR_V1 = imagenet(
        "vit_l_16_lc_swag-4d563306.pth", 304326632, 85.146, 97.422, (224, 224),
        resize_size=224, interpolation="bicubic",
    )  # fmt: skip
    DEFAULT = IMAGENET1K_V1


class ViT_L_32_Weights(WeightsEnum):
    """Published weights of :func:`vit_l_32`."""

    IMAGENET1K_V1 = imagenet(
        "vit_l_32-c7638314.pth", 306535400, 76.972, 93.07, (224, 224),
    )  # fmt: skip
    DEFAULT = IMAGENET1K_V1


class ViT_H_14_Weights(WeightsEnum):
    """Published weights of :func:`vit_h_14`; SWAG's are licensed CC-BY-NC 4.0."""

    IMAGENET1K_SWAG_E2E_V1 = imagenet(
        "vit_h_14_swag-80465313.pth", 633470440, 88.552, 98.694, (518, 518),
        crop_size=518, resize_size=518, interpolation="bicubic",
    )  # fmt: skip
    IMAGENET1K_SWAG_LINEAR_V1 = imagenet(
        "vit_h_14_lc_swag-c1eb923e.pth", 632045800, 85.708, 97.73, (224, 224),
        resize_size=224, interpolation="bicubic",
    )  # fmt: skip
    DEFAULT = IMAGENET1K_SWAG_E2E_V1


def _vision_transformer(
    patch_size: int,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    mlp_dim: int,
    weights: WeightsEnum | None,
    progress: bool,
    kwargs: dict[str, Any],
) -> VisionTransformer:
    if weights is not None:
        fix_argument(kwargs, "image_size", weights.meta["min_size"][0])
    image_size = kwargs.pop("image_size", 224)
    return with_weights(
        VisionTransformer,
        weights,
        progress,
        image_size,
        patch_size,
        num_layers,
        num_heads,
        hidden_dim,
        mlp_dim,
        **kwargs,
    )


@published(ViT_B_16_Weights)
def vit_b_16(
    *, weights: ViT_B_16_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VisionTransformer:
    """The base model on patches of 16x16; `kwargs` go to :class:`VisionTransformer`."""
    return _vision_transformer(16, 12, 12, 768, 3072, weights, progress, kwargs)


@published(ViT_B_32_Weights)
def vit_b_32(
    *, weights: ViT_B_32_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VisionTransformer:
    """The base model on patches of 32x32; `kwargs` go to :class:`VisionTransformer`."""
    return _vision_transformer(32, 12, 12, 768, 3072, weights, progress, kwargs)


@published(ViT_L_16_Weights)
def vit_l_16(
    *, weights: ViT_L_16_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VisionTransformer:
    """The large model on patches of 16x16; `kwargs` go to :class:`VisionTransformer`."""
    return _vision_transformer(16, 24, 16, 1024, 4096, weights, progress, kwargs)


@published(ViT_L_32_Weights)
def vit_l_32(
    *, weights: ViT_L_32_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VisionTransformer:
    """The large model on patches of 32x32; `kwargs` go to :class:`VisionTransformer`."""
    return _vision_transformer(32, 24, 16, 1024, 4096, weights, progress, kwargs)


@published(ViT_H_14_Weights)
def vit_h_14(
    *, weights: ViT_H_14_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VisionTransformer:
    """The huge model on patches of 14x14; `kwargs` go to :class:`VisionTransformer`."""
    return _vision_transformer(14, 32, 16, 1280, 5120, weights, progress, kwargs)
