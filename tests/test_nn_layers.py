"""Every layer of nn by value and gradient against PyTorch's, from the same weights.

The table names a layer, its arguments and the shapes of its inputs; odd strides, groups,
padding modes and batches of one and of none are in it. Key layers also have recorded numbers,
which need no PyTorch.
"""

import copy
import pickle

import numpy as np
import pytest

import suiren
from suiren import nn

# Layer, positional arguments, named arguments, inputs: a tuple of sizes is a random float tensor,
# ("int", high, sizes) integers below high, ("prob", sizes) in 0.1 to 0.9, ("sign", sizes) 1 or -1.
LAYERS = [
    ("Linear", (5, 3), {}, [(4, 5)]),
    ("Linear", (5, 3), {"bias": False}, [(2, 4, 5)]),
    ("Linear", (5, 3), {}, [(0, 5)]),
    ("Linear", (5, 3), {}, [(5,)]),
    ("Bilinear", (3, 4, 2), {}, [(5, 3), (5, 4)]),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, [(2, 4, 9)]),
    ("Conv1d", (2, 4, 4), {"padding": "same", "dilation": 2}, [(2, 2, 9)]),
    ("Conv2d", (3, 4, (3, 2)), {"stride": (2, 3), "padding": (0, 1)}, [(2, 3, 8, 7)]),
    ("Conv2d", (3, 4, 3), {"padding": 1, "padding_mode": "reflect"}, [(1, 3, 5, 5)]),
    ("Conv2d", (3, 4, 3), {"padding": "same", "padding_mode": "circular"}, [(1, 3, 5, 5)]),
    ("Conv2d", (4, 4, 3), {"groups": 4, "bias": False}, [(4, 5, 5)]),
    ("Conv2d", (3, 4, 3), {}, [(0, 3, 5, 5)]),
    ("Conv3d", (2, 3, 2), {"dilation": 2, "padding_mode": "replicate", "padding": 1},
     [(1, 2, 4, 5, 4)]),
    ("ConvTranspose1d", (4, 2, 3), {"stride": 2, "output_padding": 1, "groups": 2}, [(2, 4, 5)]),
    ("ConvTranspose2d", (3, 2, 3), {"stride": 3, "padding": 1, "dilation": 2}, [(2, 3, 4, 3)]),
    ("ConvTranspose3d", (2, 3, 2), {"stride": 2}, [(1, 2, 3, 2, 3)]),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, [(2, 3, 8)]),
    ("MaxPool2d", ((3, 2),), {"stride": 2, "ceil_mode": True}, [(2, 3, 8, 7)]),
    ("MaxPool3d", (2,), {"dilation": 2}, [(1, 2, 5, 5, 5)]),
    ("AvgPool1d", (3,), {"padding": 1, "count_include_pad": False}, [(2, 3, 8)]),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "divisor_override": 5}, [(2, 3, 7, 7)]),
    ("AvgPool3d", (2,), {"ceil_mode": True}, [(1, 2, 5, 4, 5)]),
    ("AdaptiveAvgPool2d", ((3, None),), {}, [(2, 3, 7, 5)]),
    ("AdaptiveMaxPool1d", (3,), {}, [(2, 3, 7)]),
    ("LPPool1d", (2, 3), {"stride": 2}, [(2, 3, 8)]),
    ("LPPool2d", (3, (2, 3)), {"stride": 1}, [("prob", (2, 3, 5, 6))]),
    ("LPPool3d", (2, 2), {}, [(1, 2, 4, 4, 4)]),
    ("BatchNorm1d", (3,), {}, [(4, 3)]),
    ("BatchNorm1d", (3,), {"momentum": None, "affine": False}, [(4, 3, 5)]),
    ("BatchNorm2d", (3,), {"eps": 1e-3}, [(2, 3, 4, 5)]),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, [(1, 3, 4, 5)]),
    ("BatchNorm3d", (2,), {"bias": False}, [(2, 2, 2, 3, 2)]),
    ("InstanceNorm1d", (3,), {}, [(2, 3, 5)]),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, [(2, 3, 4, 5)]),
    ("InstanceNorm3d", (2,), {"affine": True}, [(2, 3, 2, 2)]),
    ("LayerNorm", ((4, 5),), {}, [(3, 4, 5)]),
    ("LayerNorm", (5,), {"elementwise_affine": False}, [(2, 5)]),
    ("GroupNorm", (2, 6), {}, [(3, 6, 4)]),
    ("RMSNorm", (5,), {}, [(3, 5)]),
    ("RMSNorm", ((3, 5),), {"eps": 0.1}, [(2, 3, 5)]),
    ("LocalResponseNorm", (3,), {"alpha": 0.3}, [(2, 5, 4)]),
    ("LocalResponseNorm", (2,), {"alpha": 0.3}, [(2, 5, 4, 3)]),
    ("Embedding", (10, 3), {"padding_idx": 2}, [("int", 10, (4, 5))]),
    ("Embedding", (10, 3), {"scale_grad_by_freq": True}, [("int", 4, (9,))]),
    ("EmbeddingBag", (10, 3), {}, [("int", 10, (4, 5))]),
    ("EmbeddingBag", (10, 3), {"mode": "max", "padding_idx": 1}, [("int", 10, (4, 5))]),
    ("EmbeddingBag", (10, 3), {"mode": "sum", "padding_idx": 1}, [("int", 3, (4, 5))]),
    ("Flatten", (1, 2), {}, [(2, 3, 4, 2)]),
    ("Unflatten", (1, (2, -1)), {}, [(3, 6)]),
    ("Fold", ((4, 5), (2, 3)), {"stride": 1}, [(2, 12, 9)]),
    ("Unfold", ((2, 3),), {"padding": 1, "stride": 2}, [(2, 3, 5, 6)]),
    ("ConstantPad2d", ((1, 2, 0, -1), 3.5), {}, [(2, 3, 4, 5)]),
    ("ReflectionPad1d", ((1, 3),), {}, [(2, 3, 5)]),
    ("ReplicationPad2d", (2,), {}, [(2, 3, 4, 5)]),
    ("CircularPad3d", (1,), {}, [(1, 2, 3, 2, 4)]),
    ("ZeroPad1d", (2,), {}, [(3, 4)]),
    ("PixelShuffle", (2,), {}, [(2, 8, 3, 3)]),
    ("PixelUnshuffle", (3,), {}, [(2, 2, 6, 3)]),
    ("ChannelShuffle", (3,), {}, [(2, 6, 4)]),
    ("Upsample", (), {"scale_factor": 2, "mode": "bilinear", "align_corners": True},
     [(1, 2, 3, 4)]),
    ("UpsamplingNearest2d", (), {"size": (5, 7)}, [(1, 2, 3, 4)]),
    ("UpsamplingBilinear2d", (), {"scale_factor": 2}, [(1, 2, 3, 4)]),
    ("CosineSimilarity", (), {"dim": 1}, [(4, 5), (4, 5)]),
    ("PairwiseDistance", (), {"p": 3.0, "keepdim": True}, [(4, 5), (4, 5)]),
    ("PairwiseDistance", (), {}, [(5,), (4, 5)]),
    ("PReLU", (3,), {}, [(2, 3, 4)]),
    ("Softmax", (1,), {}, [(3, 4)]),
    ("Softmax2d", (), {}, [(2, 3, 2, 2)]),
    ("Softmin", (0,), {}, [(3, 4)]),
    ("LogSoftmax", (-1,), {}, [(3, 4)]),
    ("GLU", (1,), {}, [(3, 4)]),
    ("GELU", ("tanh",), {}, [(3, 4)]),
    ("Threshold", (0.1, 20.0), {}, [(3, 4)]),
    ("Softplus", (2.0, 1.5), {}, [(3, 4)]),
    ("RNN", (4, 3), {"nonlinearity": "relu", "num_layers": 2}, [(5, 2, 4)]),
    ("RNN", (4, 3), {"bias": False}, [(5, 4)]),
    ("LSTM", (4, 3), {"num_layers": 2, "bidirectional": True}, [(5, 2, 4)]),
    ("LSTM", (4, 5), {"proj_size": 2, "batch_first": True}, [(3, 4, 4)]),
    ("GRU", (4, 3), {"bidirectional": True, "batch_first": True}, [(1, 6, 4)]),
    ("RNNCell", (4, 3), {}, [(2, 4)]),
    ("LSTMCell", (4, 3), {}, [(2, 4)]),
    ("GRUCell", (4, 3), {}, [(4,)]),
    ("MultiheadAttention", (8, 2), {}, [(5, 3, 8), (4, 3, 8), (4, 3, 8)]),
    ("MultiheadAttention", (8, 2), {"kdim": 3, "vdim": 5, "add_bias_kv": True,
                                    "add_zero_attn": True, "batch_first": True},
     [(3, 5, 8), (3, 4, 3), (3, 4, 5)]),
    ("TransformerEncoderLayer", (8, 2, 16, 0.0), {}, [(5, 3, 8)]),
    ("TransformerDecoderLayer", (8, 2, 16, 0.0, "gelu"), {"norm_first": True},
     [(5, 3, 8), (4, 3, 8)]),
    ("Transformer", (8, 2, 1, 1, 16, 0.0), {"batch_first": True}, [(3, 5, 8), (3, 4, 8)]),
    ("L1Loss", (), {}, [(3, 4), (3, 4)]),
    ("MSELoss", (), {"reduction": "none"}, [(3, 4), (3, 4)]),
    ("SmoothL1Loss", (), {"beta": 0.5}, [(3, 4), (3, 4)]),
    ("HuberLoss", (), {"delta": 0.5, "reduction": "sum"}, [(3, 4), (3, 4)]),
    ("NLLLoss", (), {}, [(3, 4), ("int", 4, (3,))]),
    ("CrossEntropyLoss", (), {}, [(3, 4), ("int", 4, (3,))]),
    ("CrossEntropyLoss", (), {"label_smoothing": 0.1, "ignore_index": 1},
     [(3, 4, 5), ("int", 4, (3, 5))]),
    ("CrossEntropyLoss", (), {"label_smoothing": 0.2}, [(3, 4, 2), ("prob", (3, 4, 2))]),
    ("CrossEntropyLoss", (), {"reduction": "none"}, [(4,), ("int", 4, ())]),
    ("LinearCrossEntropyLoss", (5, 3), {"bias": True}, [(4, 5), ("int", 3, (4,))]),
    ("BCELoss", (), {}, [("prob", (3, 4)), ("prob", (3, 4))]),
    ("BCEWithLogitsLoss", (), {}, [(3, 4), ("prob", (3, 4))]),
    ("KLDivLoss", (), {"reduction": "batchmean"}, [(3, 4), ("prob", (3, 4))]),
    ("PoissonNLLLoss", (), {"full": True}, [(3, 4), ("int", 5, (3, 4))]),
    ("GaussianNLLLoss", (), {"full": True}, [(3, 4), (3, 4), ("prob", (3, 1))]),
    ("HingeEmbeddingLoss", (), {}, [(3, 4), ("sign", (3, 4))]),
    ("SoftMarginLoss", (), {}, [(3, 4), ("sign", (3, 4))]),
    ("CosineEmbeddingLoss", (), {"margin": 0.2}, [(3, 4), (3, 4), ("sign", (3,))]),
    ("MarginRankingLoss", (), {"margin": 0.2}, [(3,), (3,), ("sign", (3,))]),
    ("MultiMarginLoss", (), {"p": 2}, [(3, 4), ("int", 4, (3,))]),
    ("MultiMarginLoss", (), {}, [(4,), ("int", 4, ())]),
    ("MultiLabelMarginLoss", (), {}, [(3, 4), ("int", 4, (3, 4))]),
    ("MultiLabelSoftMarginLoss", (), {}, [(3, 4), ("int", 2, (3, 4))]),
    ("TripletMarginLoss", (), {"swap": True}, [(3, 4), (3, 4), (3, 4)]),
    ("TripletMarginWithDistanceLoss", (), {}, [(3, 4), (3, 4), (3, 4)]),
    ("AdaptiveLogSoftmaxWithLoss", (8, 12, [3, 7]), {"div_value": 2.0},
     [(5, 8), ("int", 12, (5,))]),
    ("FractionalMaxPool2d", (2,), {"output_size": 3}, [(2, 3, 7, 6)]),
    ("FractionalMaxPool3d", (2,), {"output_ratio": 0.5}, [(1, 2, 6, 6, 5)]),
]
LAYERS += [(name, (), {}, [(3, 4)]) for name in (
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity",
    "LeakyReLU", "LogSigmoid", "Mish", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softshrink",
    "Softsign", "Tanh", "Tanhshrink")]

# Draw their windows anew at each call: the same seed on both sides.
RANDOM = ("FractionalMaxPool2d", "FractionalMaxPool3d")


def make_inputs(specs, seed=0):
    rng = np.random.RandomState(seed)
    arrays = []
    for spec in specs:
        if spec and spec[0] == "int":
            arrays.append(np.asarray(rng.randint(0, spec[1], spec[2]), dtype=np.int64))
        elif spec and spec[0] == "prob":
            arrays.append(rng.uniform(0.1, 0.9, spec[1]).astype(np.float32))
        elif spec and spec[0] == "sign":
            arrays.append(rng.choice([-1.0, 1.0], spec[1]).astype(np.float32))
        else:
            arrays.append(rng.standard_normal(spec).astype(np.float32))
    return arrays


def to_tensors(library, arrays):
    tensors = [library.from_numpy(array.copy()) for array in arrays]
    # Targets of losses need no gradient; the first input and other plain ones do.
    for tensor in tensors[:1]:
        if tensor.is_floating_point():
            tensor.requires_grad_(True)
    return tensors


def flat(result):
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in flat(part)]
    return [] if result is None else [result]


def run(library, layers, case, training, state=None):
    """Results, buffers and gradients as arrays; the layer's state comes from `state`."""
    name, args, kwargs, specs = case
    library.manual_seed(0)
    layer = getattr(layers, name)(*args, **kwargs)
    if state is not None:
        layer.load_state_dict(
            {key: library.from_numpy(value.copy()) for key, value in state.items()})
    layer.train(training)
    inputs = to_tensors(library, make_inputs(specs))
    library.manual_seed(1)
    outputs = flat(layer(*inputs))
    floats = [out for out in outputs if out.requires_grad]
    if floats:
        rng = np.random.RandomState(9)
        total = 0
        for out in floats:
            factor = rng.uniform(0.5, 1.5, tuple(out.shape)).astype(np.float32)
            total = total + (out * library.from_numpy(np.asarray(factor))).sum()
        total.backward()
    arrays = {f"result {i}": out.detach().numpy() for i, out in enumerate(outputs)}
    arrays |= {key: value.numpy() for key, value in layer.named_buffers()}
    sources = {f"input {i}": tensor for i, tensor in enumerate(inputs)}
    sources |= dict(layer.named_parameters())
    for key, tensor in sources.items():
        if tensor.grad is not None:
            arrays[f"gradient of {key}"] = tensor.grad.numpy()
    return arrays, layer


def label(case):
    name, args, kwargs, _ = case
    return f"{name}{args}{''.join(f',{k}={v}' for k, v in kwargs.items())}"


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # PyTorch's own
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", LAYERS, ids=label)
def test_layer_agrees_with_torch(case, training):
    torch = pytest.importorskip("torch")
    if case[0] in RANDOM and not hasattr(suiren, "rand"):
        pytest.skip("needs random numbers")
    torch.manual_seed(0)
    reference = getattr(torch.nn, case[0])(*case[1], **case[2])
    rng = np.random.RandomState(3)
    state = {}
    for key, value in reference.state_dict().items():
        array = value.numpy()
        if array.dtype.kind == "f":  # off the ones and zeros that layers start with
            array = array + rng.uniform(0.01, 0.2, array.shape).astype(array.dtype)
        state[key] = array
    want, _ = run(torch, torch.nn, case, training, state)
    got, _ = run(suiren, nn, case, training, state)
    assert list(got) == list(want)
    for key in want:
        assert got[key].dtype == want[key].dtype, key
        assert got[key].shape == want[key].shape, key
        # 1e-5 of the largest value: sums in another order
        scale = np.abs(want[key]).max() if want[key].size else 0
        np.testing.assert_allclose(
            got[key], want[key], rtol=1e-5, atol=2e-6 + 1e-5 * scale, err_msg=key)


def test_the_table_covers_every_layer():
    torch = pytest.importorskip("torch")
    skipped = {
        "Container", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList",
        "Sequential", "Parameter", "Buffer", "UninitializedBuffer", "UninitializedParameter",
        "LinearCrossEntropyOptions", "RNNBase", "RNNCellBase", "NLLLoss2d",
        "SyncBatchNorm",  # not provided
        "DataParallel",  # in test_nn_module
        "CTCLoss", "CrossMapLRN2d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",  # below
        "AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
        "FeatureAlphaDropout", "RReLU",  # random
        "TransformerEncoder", "TransformerDecoder",  # in Transformer
    }
    similar = {name[:-2] for name, *_ in LAYERS if name[-1] == "d"}
    names = {name for name in dir(torch.nn) if isinstance(getattr(torch.nn, name), type)}
    covered = {name for name, *_ in LAYERS}
    for name in sorted(names - skipped - covered):
        if not name.startswith("Lazy"):
            assert name[:-2] in similar, name
        assert hasattr(nn, name), name


def test_ctc_loss_agrees_with_torch():
    torch = pytest.importorskip("torch")
    scores = np.random.RandomState(0).standard_normal((6, 2, 5)).astype(np.float32)

    def loss(library, layers):
        x = library.from_numpy(scores.copy()).requires_grad_(True)
        value = layers.CTCLoss()(
            x.log_softmax(2), library.tensor([[1, 2, 2], [3, 1, 4]]), (6, 5), (3, 2))
        value.backward()
        return value.item(), x.grad.numpy()

    want, want_gradient = loss(torch, torch.nn)
    got, got_gradient = loss(suiren, nn)
    assert got == pytest.approx(want, rel=1e-5)
    np.testing.assert_allclose(got_gradient, want_gradient, atol=1e-5)


@pytest.mark.parametrize("name", [
    "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"])
def test_dropout_does_nothing_in_evaluation(name):
    layer = getattr(nn, name)(0.9).eval()
    x = suiren.ones(2, 3, 4) if name == "Dropout1d" else suiren.ones(2, 3, 4, 5)
    assert bool((layer(x) == x).all())
    with pytest.raises(ValueError, match="between 0 and 1"):
        getattr(nn, name)(1.5)


# ---- lazy layers, unpooling, packed sequences, masks


@pytest.mark.parametrize("lazy, plain, args, shape", [
    ("LazyLinear", "Linear", (3,), (2, 5)),
    ("LazyConv1d", "Conv1d", (4, 3), (2, 2, 6)),
    ("LazyConv2d", "Conv2d", (4, 3), (2, 6, 6)),
    ("LazyConvTranspose3d", "ConvTranspose3d", (4, 2), (1, 2, 3, 3, 3)),
    ("LazyBatchNorm2d", "BatchNorm2d", (), (2, 3, 4, 4)),
    ("LazyInstanceNorm1d", "InstanceNorm1d", (), (2, 3, 4)),
])
def test_lazy_layers_become_plain_ones(lazy, plain, args, shape):
    layer = getattr(nn, lazy)(*args)
    assert "Uninitialized" in repr(next(layer.parameters(), None)) or not list(layer.parameters())
    result = layer(suiren.ones(*shape))
    assert type(layer) is getattr(nn, plain)
    assert result.shape[0] == shape[0] or len(shape) == 3
    twin = getattr(nn, lazy)(*args)
    twin.load_state_dict(layer.state_dict())  # takes the shapes from the state
    assert all(tuple(a.shape) == tuple(b.shape)
               for a, b in zip(twin.parameters(), layer.parameters(), strict=True))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_of_lazy_layers_are_their_own(copied):
    layer = nn.LazyBatchNorm1d()
    twin = copied(layer)
    assert tuple(twin(suiren.ones(2, 3)).shape) == (2, 3)
    assert type(twin) is nn.BatchNorm1d and not twin._forward_pre_hooks
    assert type(layer) is nn.LazyBatchNorm1d
    layer(suiren.ones(2, 5))
    assert type(layer) is nn.BatchNorm1d and tuple(layer.weight.shape) == (5,)


def test_uninitialized_parameter_has_no_shape():
    with pytest.raises(RuntimeError, match="uninitialized parameter"):
        nn.LazyLinear(3).weight.shape  # noqa: B018


def test_unpool_puts_maxima_back():
    x = suiren.tensor([[[1.0, 3.0, 2.0, 0.5, 7.0]]])
    values, indices = nn.MaxPool1d(2, return_indices=True)(x)
    unpool = nn.MaxUnpool1d(2)
    assert unpool(values, indices).tolist() == [[[0.0, 3.0, 2.0, 0.0]]]
    assert unpool(values, indices, output_size=(1, 1, 5)).tolist() == [[[0.0, 3.0, 2.0, 0.0, 0.0]]]
    with pytest.raises(ValueError, match="invalid output_size"):
        unpool(values, indices, output_size=(9,))
    with pytest.raises(RuntimeError, match="invalid max index"):
        unpool(values, indices + 50)


def test_cross_map_lrn_has_the_flaw_of_torch():
    torch = pytest.importorskip("torch")
    x = np.random.RandomState(0).standard_normal((2, 7, 3, 3)).astype(np.float32)
    for size in (3, 4, 5):
        want = torch.nn.CrossMapLRN2d(size, alpha=0.5)(torch.from_numpy(x)).numpy()
        got = nn.CrossMapLRN2d(size, alpha=0.5)(suiren.from_numpy(x.copy())).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["RNN", "GRU", "LSTM"])
def test_packed_sequences_give_each_sequence_its_own_result(mode):
    """A packed batch equals the sequences run one by one, forwards and backwards."""
    suiren.manual_seed(0)
    layer = getattr(nn, mode)(3, 4, num_layers=2, bidirectional=True)
    sequences = [suiren.randn(length, 3) for length in (2, 5, 3)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    output, state = layer(packed)
    padded, lengths = nn.utils.rnn.pad_packed_sequence(output)
    assert lengths.tolist() == [2, 5, 3]
    hidden = state[0] if mode == "LSTM" else state
    for place, sequence in enumerate(sequences):
        alone, alone_state = layer(sequence)
        alone_hidden = alone_state[0] if mode == "LSTM" else alone_state
        np.testing.assert_allclose(
            padded[: len(sequence), place].detach().numpy(), alone.detach().numpy(), atol=1e-6)
        np.testing.assert_allclose(
            hidden[:, place].detach().numpy(), alone_hidden.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_masks_agree_with_torch(need_weights):
    torch = pytest.importorskip("torch")
    reference = torch.nn.MultiheadAttention(8, 2)
    layer = nn.MultiheadAttention(8, 2)
    layer.load_state_dict({
        key: suiren.from_numpy(value.numpy().copy())
        for key, value in reference.state_dict().items()})
    x = np.random.RandomState(0).standard_normal((4, 3, 8)).astype(np.float32)
    padding = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]], dtype=bool)
    causal = np.triu(np.ones((4, 4), dtype=bool), 1)

    def attend(library, module):
        query = library.from_numpy(x.copy())
        return module(
            query, query, query, key_padding_mask=library.from_numpy(padding.copy()),
            need_weights=need_weights, attn_mask=library.from_numpy(causal.copy()))

    want, want_weights = attend(torch, reference)
    got, got_weights = attend(suiren, layer)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=2e-6)
    assert (got_weights is None) == (want_weights is None)
    if need_weights:
        np.testing.assert_allclose(
            got_weights.detach().numpy(), want_weights.detach().numpy(), atol=2e-6)


def test_embedding_bag_with_offsets_and_weights():
    table = suiren.arange(12.0).view(6, 2)
    bag = nn.EmbeddingBag.from_pretrained(table, mode="sum", include_last_offset=True)
    words = suiren.tensor([1, 2, 4, 5])
    offsets = suiren.tensor([0, 2, 2, 4])
    weights = suiren.tensor([1.0, 2.0, 0.5, 1.0])
    assert bag(words, offsets, weights).tolist() == [[10.0, 13.0], [0.0, 0.0], [14.0, 15.5]]
    mean = nn.EmbeddingBag.from_pretrained(table, mode="mean")
    assert mean(words, suiren.tensor([0, 3])).tolist() == [[14 / 3, 17 / 3], [10.0, 11.0]] or (
        np.allclose(mean(words, suiren.tensor([0, 3])).numpy(), [[14 / 3, 17 / 3], [10, 11]]))


def test_max_norm_shrinks_only_used_rows():
    bag = nn.EmbeddingBag(3, 2, max_norm=1.0, mode="sum")
    with suiren.no_grad():
        bag.weight.copy_(suiren.tensor([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]]))
    bag(suiren.tensor([[0, 1]]))
    np.testing.assert_allclose(
        bag.weight.detach().numpy(), [[0.6, 0.8], [0.3, 0.4], [6.0, 8.0]], rtol=1e-6)


# ---- recorded numbers, from PyTorch 2.13


def fill(layer):
    """Weights that need no random numbers: (-1) ** i * (i + 1) / 10 over all elements."""
    with suiren.no_grad():
        for parameter in layer.parameters():
            count = parameter.numel()
            values = [(-1) ** i * (i + 1) / 10 for i in range(count)]
            parameter.copy_(suiren.tensor(values).view(parameter.shape))
    return layer


RECORDED = [
    ("Linear", (4, 3), (2, 4),
     [0.06, -0.34, 0.06000002, -0.04]),
    ("Conv2d", (2, 3, 3, 2, 1), (1, 2, 5, 5),
     [0.1000001, -0.1400001, 0.1, 0.03200012]),
    ("ConvTranspose2d", (2, 3, 3, 2), (1, 2, 3, 3),
     [-0.4899999, 0.74, -1.33, 0.8900001]),
    ("BatchNorm2d", (3,), (2, 3, 2, 2),
     [-0.02287529, -0.006491921, 0.009891459, 0.02627483]),
    ("LayerNorm", (4,), (2, 4),
     [-0.03412974, -0.1105802, 0.4341297, -0.936519]),
    ("GroupNorm", (2, 4), (1, 4, 3),
     [-0.04634889, 0.01219067, 0.07073023, -0.2585396]),
    ("RMSNorm", (4,), (2, 4),
     [-0.1672156, 0.1950849, -0.08360783, -0.1672156]),
    ("MaxPool2d", (2,), (1, 1, 4, 4),
     [0.01249999, 0.1375, 0.5125, 0.6375]),
    ("GRU", (2, 3), (3, 1, 2),
     [0.5030586, -0.2593307, 0.6638944, 0.9539453]),
    ("LSTM", (2, 3), (3, 1, 2),
     [0.03885877, -0.3087862, 0.03052309, 0.01745612]),
    ("RNN", (2, 3), (3, 1, 2),
     [0.1941698, -0.4108776, 0.4853811, 0.3889312]),
    ("GELU", (), (4,),
     [-0.1146266, -0.02400307, 0.1158519, 0.3031401]),
    ("Softmax", (1,), (2, 2),
     [0.4378235, 0.5621765, 0.4378235, 0.5621765]),
    ("TransformerEncoderLayer", (4, 2, 8, 0.0), (3, 1, 4),
     [-0.02268647, -0.08182488, 0.7216896, -0.5648432]),
]


@pytest.mark.parametrize("name, args, shape, want", RECORDED)
def test_recorded_results(name, args, shape, want):
    layer = fill(getattr(nn, name)(*args))
    count = int(np.prod(shape))
    x = (suiren.arange(float(count)) / count - 0.3).view(*shape)
    got = flat(layer(x))[0].detach().flatten()[:4]
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=1e-6)
