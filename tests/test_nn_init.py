"""nn.init and the initial weights of all layers: the same numbers as PyTorch from the same seed."""

import math

import numpy as np
import pytest

import suiren
from suiren import nn
from suiren.nn import init

# Function, arguments, shape.
FILLS = [
    ("uniform_", (-2.0, 3.0), (7, 5)),
    ("normal_", (1.0, 2.0), (20, 3)),
    ("normal_", (), (5,)),
    ("trunc_normal_", (), (9, 4)),
    ("trunc_normal_", (0.5, 2.0, -1.0, 1.5), (20,)),
    ("trunc_normal_", (0.0, 1.0, -0.1, 0.1), (6, 7)),
    ("trunc_normal_", (0.0, 1.0, 2.0, 5.0), (5,)),
    ("constant_", (0.3,), (2, 3)),
    ("ones_", (), (2, 3)),
    ("zeros_", (), (2, 3)),
    ("eye_", (), (3, 5)),
    ("dirac_", (), (4, 2, 3)),
    ("dirac_", (2,), (4, 2, 3, 3)),
    ("dirac_", (), (3, 3, 2, 3, 4)),
    ("xavier_uniform_", (2.0,), (6, 4)),
    ("xavier_normal_", (), (6, 4, 3)),
    ("kaiming_uniform_", (), (6, 4)),
    ("kaiming_uniform_", (math.sqrt(5), "fan_out", "leaky_relu"), (6, 4, 3, 3)),
    ("kaiming_normal_", (0, "fan_out", "relu"), (8, 4, 3)),
    ("kaiming_normal_", (0, "fan_in", "tanh"), (8, 5)),
    ("orthogonal_", (), (4, 6)),
    ("orthogonal_", (2.0,), (6, 3, 2)),
    ("orthogonal_", (), (7, 3)),
    ("sparse_", (0.3,), (10, 4)),
    ("sparse_", (0.9, 2.0), (6, 3)),
]


@pytest.mark.parametrize("name, args, shape", FILLS)
def test_fills_agree_with_torch(name, args, shape):
    torch = pytest.importorskip("torch")
    torch.manual_seed(4)
    want = getattr(torch.nn.init, name)(torch.empty(shape), *args).numpy()
    suiren.manual_seed(4)
    tensor = suiren.empty(shape)
    result = getattr(init, name)(tensor, *args)
    assert result is tensor
    # the normal draws to 1 ulp of the logarithm and cosine; the factorization a little more
    np.testing.assert_allclose(tensor.numpy(), want, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name, args, shape", FILLS)
def test_fills_record_no_gradient(name, args, shape):
    parameter = nn.Parameter(suiren.zeros(shape))
    getattr(init, name)(parameter, *args)
    assert parameter.is_leaf and parameter.requires_grad


LAYERS = [
    ("Linear", (5, 3)), ("Bilinear", (2, 3, 4)), ("Conv1d", (4, 6, 3, 1, 0, 1, 2)),
    ("Conv2d", (3, 4, 3)), ("ConvTranspose2d", (3, 4, 3)), ("Embedding", (6, 3)),
    ("Embedding", (6, 3, 2)), ("EmbeddingBag", (6, 3)), ("LSTM", (3, 4, 2)),
    ("GRU", (3, 4)), ("RNNCell", (3, 4)), ("MultiheadAttention", (8, 2)),
    ("MultiheadAttention", (8, 2, 0.0, True, True, False, 3, 5)),
    ("TransformerEncoderLayer", (8, 2, 16)), ("TransformerDecoderLayer", (8, 2, 16)),
    ("Transformer", (8, 2, 2, 1, 16)), ("AdaptiveLogSoftmaxWithLoss", (8, 12, [3, 7], 2.0)),
    ("BatchNorm2d", (3,)), ("PReLU", (2,)),
]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")  # PyTorch's own
@pytest.mark.parametrize("name, args", LAYERS)
def test_layers_start_as_torchs(name, args):
    """Names, order and values of the whole state; one draw more or less would show in all."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    want = getattr(torch.nn, name)(*args).state_dict()
    suiren.manual_seed(7)
    got = getattr(nn, name)(*args).state_dict()
    assert list(got) == list(want)
    for key in want:
        np.testing.assert_allclose(
            got[key].numpy(), want[key].numpy(), rtol=2e-6, atol=1e-7, err_msg=key)


def test_lazy_layers_draw_when_they_learn_their_shape():
    torch = pytest.importorskip("torch")
    want = []
    for library, layers in ((torch, torch.nn), (suiren, nn)):
        library.manual_seed(1)
        layer = layers.LazyConv2d(4, 3)
        layer(library.ones(1, 2, 5, 5))
        want.append(layer.weight.detach().flatten()[:5].tolist())
    assert want[0] == pytest.approx(want[1])


# From PyTorch 2.13.
RECORDED = {
    "nn.Linear(4, 3)":
        [-0.0037434101, 0.2682218, -0.41152257, -0.36796951],
    "nn.Conv2d(2, 3, 3)":
        [-0.0017646605, 0.12644097, -0.1939936, -0.1734625],
    "nn.Embedding(6, 3)":
        [-1.1258398, -1.1523602, 0.56665063, 0.79350835],
    "nn.LSTM(3, 4)":
        [-0.0037434101, 0.2682218, -0.41152257, -0.36796951],
    "nn.MultiheadAttention(8, 2)":
        [0.17017828, 0.3587724, 0.37681082, 0.38207167],
    "nn.Bilinear(2, 3, 4)":
        [-0.0052939812, 0.37932289, -0.58198076, -0.52038747],
}


@pytest.mark.parametrize("text", RECORDED)
def test_recorded_first_weights(text):
    suiren.manual_seed(0)
    layer = eval(text)
    first = next(layer.parameters()).detach().flatten()[:4]
    np.testing.assert_allclose(first.numpy(), RECORDED[text], rtol=2e-6)


def test_calculate_gain():
    gains = {
        "linear": 1, "conv2d": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + 0.01**2)), "selu": 0.75,
    }
    for name, gain in gains.items():
        assert init.calculate_gain(name) == gain
    assert init.calculate_gain("leaky_relu", 0.5) == math.sqrt(2 / 1.25)
    with pytest.raises(ValueError, match="Unsupported nonlinearity swish"):
        init.calculate_gain("swish")
    with pytest.raises(ValueError, match="not a valid number"):
        init.calculate_gain("leaky_relu", True)


def test_errors_and_warnings():
    assert init._calculate_fan_in_and_fan_out(suiren.empty(4, 3, 2, 5)) == (30, 40)
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        init.xavier_uniform_(suiren.empty(3))
    with pytest.raises(ValueError, match="Mode fan not supported"):
        init.kaiming_uniform_(suiren.empty(3, 3), mode="fan")
    with pytest.raises(ValueError, match="3, 4, or 5 dimensions"):
        init.dirac_(suiren.empty(3, 3))
    with pytest.raises(ValueError, match="divisible by groups"):
        init.dirac_(suiren.empty(3, 3, 3), groups=2)
    with pytest.raises(ValueError, match="Only tensors with 2"):
        init.sparse_(suiren.empty(3), 0.1)
    with pytest.warns(UserWarning, match="no-op"):
        init.kaiming_uniform_(suiren.empty(0, 3))
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(suiren.empty(3), mean=9.0)
    with pytest.warns(FutureWarning, match="nn.init.uniform_"):
        init.uniform(suiren.empty(3))


def test_orthogonal_is_orthogonal():
    matrix = init.orthogonal_(suiren.empty(3, 5), gain=2.0)
    np.testing.assert_allclose(
        (matrix @ matrix.T).numpy(), 4 * np.eye(3), atol=1e-5)


def test_skip_init_makes_no_draws():
    suiren.manual_seed(3)
    before = suiren.rand(1).item()
    suiren.manual_seed(3)
    layer = nn.utils.skip_init(nn.Linear, 4, 5)
    assert suiren.rand(1).item() == before
    assert tuple(layer.weight.shape) == (5, 4) and layer.weight.device.type == "cpu"
