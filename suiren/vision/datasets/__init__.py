"""Image datasets: the embedded handwritten digits, and a split by class."""

from suiren.vision.datasets.digits import Digits
from suiren.vision.datasets.split import stratified_split

__all__ = ["Digits", "stratified_split"]
