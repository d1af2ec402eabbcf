"""`torch.quantization`, the older name of ``torch.ao.quantization``."""

from suiren.ao.quantization import *  # noqa: F403
