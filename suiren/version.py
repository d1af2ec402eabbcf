"""The version of the package, and of the PyTorch interface that it follows."""

__version__ = "0.1.0"
torch_interface = "2.13"
cuda = None
hip = None
debug = False
