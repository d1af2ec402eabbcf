"""`torch.ao`: quantization, which is not there and says so (:mod:`suiren.ao.quantization`)."""

from suiren.ao import quantization

__all__ = ["quantization"]
