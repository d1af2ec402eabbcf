"""Convolution weights into another memory format. Source: PyTorch, torch.nn.utils."""

from __future__ import annotations

from typing import Any

from suiren.nn.modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from suiren.nn.modules.module import Module


def convert_conv2d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """Lay the weights of all two-dimensional convolutions out so; returns the module."""
    return _convert(module, (Conv2d, ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """Lay the weights of all three-dimensional convolutions out so; returns the module."""
    return _convert(module, (Conv3d, ConvTranspose3d), memory_format)


def _convert(module: Module, kinds: tuple[type, ...], memory_format: Any) -> Module:
    for layer in module.modules():
        if isinstance(layer, kinds):
            weight = layer.weight.detach().clone(memory_format=memory_format)
            layer.weight.data = weight
    return module
