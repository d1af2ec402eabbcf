"""torchvision.datasets: image data sets, read from where torchvision keeps their files.

`Digits` travels inside the package; the others are downloaded on request or put in place by hand.
An item is usually `(PIL image, class number)`; `transform=ToTensor()` makes the image a tensor.
"""

from suiren.vision.datasets import utils
from suiren.vision.datasets.celeba import CelebA
from suiren.vision.datasets.cifar import CIFAR10, CIFAR100
from suiren.vision.datasets.digits import Digits
from suiren.vision.datasets.fakedata import FakeData
from suiren.vision.datasets.folder import DatasetFolder, ImageFolder
from suiren.vision.datasets.keypoints import Keypoints
from suiren.vision.datasets.mnist import EMNIST, KMNIST, MNIST, FashionMNIST
from suiren.vision.datasets.split import stratified_split
from suiren.vision.datasets.svhn import SVHN
from suiren.vision.datasets.vision import VisionDataset

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "CelebA",
    "DatasetFolder",
    "Digits",
    "EMNIST",
    "FakeData",
    "FashionMNIST",
    "ImageFolder",
    "KMNIST",
    "Keypoints",
    "MNIST",
    "SVHN",
    "VisionDataset",
    "stratified_split",
    "utils",
]
