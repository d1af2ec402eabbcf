"""`torch.ao.quantization`: its functions raise NotImplementedError.

Source: PyTorch's Quantization page.
"""

from __future__ import annotations

from typing import Any, NoReturn

_NAMES = (
    "convert", "default_qconfig", "fuse_modules", "get_default_qat_qconfig",
    "get_default_qconfig", "get_default_qconfig_mapping", "prepare", "prepare_qat", "quantize",
    "quantize_dynamic", "quantize_qat", "DeQuantStub", "QConfig", "QuantStub", "QuantWrapper",
)  # fmt: skip
__all__ = list(_NAMES)


def _absent(name: str) -> Any:
    def raises(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"torch.ao.quantization.{name}: Suiren has no quantized tensors; use the model as it is"
        )

    raises.__name__ = name
    raises.__doc__ = "Raises NotImplementedError: there are no quantized tensors."
    return raises


for _name in _NAMES:
    globals()[_name] = _absent(_name)
