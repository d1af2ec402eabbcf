"""The model zoo: counts and names as published, PyTorch's initial values and results, weights."""

import inspect
import urllib.error
import warnings

import numpy as np
import pytest

import suiren
from suiren import hub, nn
from suiren.vision import models
from suiren.vision.ops import (
    MLP,
    Conv2dNormActivation,
    FrozenBatchNorm2d,
    Permute,
    StochasticDepth,
    stochastic_depth,
)

# Parameters as published; entries, first and last name of the state dict.
PUBLISHED = {
    "alexnet": (61100840, 16, "features.0.weight", "classifier.6.bias"),
    "convnext_base": (88591464, 344, "features.0.0.weight", "classifier.2.bias"),
    "convnext_large": (197767336, 344, "features.0.0.weight", "classifier.2.bias"),
    "convnext_small": (50223688, 344, "features.0.0.weight", "classifier.2.bias"),
    "convnext_tiny": (28589128, 182, "features.0.0.weight", "classifier.2.bias"),
    "densenet121": (7978856, 727, "features.conv0.weight", "classifier.bias"),
    "densenet161": (28681000, 967, "features.conv0.weight", "classifier.bias"),
    "densenet169": (14149480, 1015, "features.conv0.weight", "classifier.bias"),
    "densenet201": (20013928, 1207, "features.conv0.weight", "classifier.bias"),
    "efficientnet_b0": (5288548, 360, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_b1": (7794184, 508, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_b2": (9109994, 508, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_b3": (12233232, 574, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_b4": (19341616, 706, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_b5": (30389784, 854, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_b6": (43040704, 986, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_b7": (66347960, 1200, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_v2_l": (118515272, 1548, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_v2_m": (54139356, 1120, "features.0.0.weight", "classifier.1.bias"),
    "efficientnet_v2_s": (21458488, 782, "features.0.0.weight", "classifier.1.bias"),
    "googlenet": (13004888, 364, "conv1.conv.weight", "fc.bias"),
    "inception_v3": (27161264, 580, "Conv2d_1a_3x3.conv.weight", "fc.bias"),
    "mobilenet_v2": (3504872, 314, "features.0.0.weight", "classifier.1.bias"),
    "mobilenet_v3_large": (5483032, 312, "features.0.0.weight", "classifier.3.bias"),
    "mobilenet_v3_small": (2542856, 244, "features.0.0.weight", "classifier.3.bias"),
    "resnet101": (44549160, 626, "conv1.weight", "fc.bias"),
    "resnet152": (60192808, 932, "conv1.weight", "fc.bias"),
    "resnet18": (11689512, 122, "conv1.weight", "fc.bias"),
    "resnet34": (21797672, 218, "conv1.weight", "fc.bias"),
    "resnet50": (25557032, 320, "conv1.weight", "fc.bias"),
    "resnext101_32x8d": (88791336, 626, "conv1.weight", "fc.bias"),
    "resnext101_64x4d": (83455272, 626, "conv1.weight", "fc.bias"),
    "resnext50_32x4d": (25028904, 320, "conv1.weight", "fc.bias"),
    "shufflenet_v2_x0_5": (1366792, 338, "conv1.0.weight", "fc.bias"),
    "shufflenet_v2_x1_0": (2278604, 338, "conv1.0.weight", "fc.bias"),
    "shufflenet_v2_x1_5": (3503624, 338, "conv1.0.weight", "fc.bias"),
    "shufflenet_v2_x2_0": (7393996, 338, "conv1.0.weight", "fc.bias"),
    "squeezenet1_0": (1248424, 52, "features.0.weight", "classifier.1.bias"),
    "squeezenet1_1": (1235496, 52, "features.0.weight", "classifier.1.bias"),
    "vgg11": (132863336, 22, "features.0.weight", "classifier.6.bias"),
    "vgg11_bn": (132868840, 62, "features.0.weight", "classifier.6.bias"),
    "vgg13": (133047848, 26, "features.0.weight", "classifier.6.bias"),
    "vgg13_bn": (133053736, 76, "features.0.weight", "classifier.6.bias"),
    "vgg16": (138357544, 32, "features.0.weight", "classifier.6.bias"),
    "vgg16_bn": (138365992, 97, "features.0.weight", "classifier.6.bias"),
    "vgg19": (143667240, 38, "features.0.weight", "classifier.6.bias"),
    "vgg19_bn": (143678248, 118, "features.0.weight", "classifier.6.bias"),
    "vit_b_16": (86567656, 152, "class_token", "heads.head.bias"),
    "vit_b_32": (88224232, 152, "class_token", "heads.head.bias"),
    "vit_h_14": (632045800, 392, "class_token", "heads.head.bias"),
    "vit_l_16": (304326632, 296, "class_token", "heads.head.bias"),
    "vit_l_32": (306535400, 296, "class_token", "heads.head.bias"),
    "wide_resnet101_2": (126886696, 626, "conv1.weight", "fc.bias"),
    "wide_resnet50_2": (68883240, 320, "conv1.weight", "fc.bias"),
}

# Names that the published files have, from the middle of them.
NAMES = {
    "alexnet": ["features.10.bias", "classifier.1.weight"],
    "vgg11_bn": ["features.26.running_var", "classifier.3.bias"],
    "resnet18": ["layer2.0.downsample.1.num_batches_tracked", "layer4.1.conv2.weight"],
    "resnext50_32x4d": ["layer1.0.downsample.0.weight", "layer4.2.bn3.running_mean"],
    "squeezenet1_0": ["features.3.squeeze.weight", "features.12.expand3x3.bias"],
    "densenet121": [
        "features.norm0.weight", "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock4.denselayer16.conv2.weight", "features.transition3.conv.weight",
        "features.norm5.bias",
    ],
    "googlenet": [
        "conv3.bn.running_var", "inception3a.branch2.1.conv.weight",
        "inception5b.branch4.1.bn.bias", "aux1.fc1.weight", "aux2.conv.conv.weight",
    ],
    "inception_v3": [
        "Conv2d_4a_3x3.conv.weight", "Mixed_5b.branch5x5_2.bn.weight",
        "Mixed_6e.branch7x7dbl_5.conv.weight", "AuxLogits.conv1.bn.running_mean",
        "Mixed_7a.branch7x7x3_4.conv.weight", "Mixed_7c.branch3x3dbl_3b.bn.running_var",
    ],
    "mobilenet_v2": ["features.1.conv.0.0.weight", "features.17.conv.3.bias", "features.18.1.bias"],
    "mobilenet_v3_small": ["features.1.block.1.fc1.weight", "features.12.1.running_mean"],
    "mobilenet_v3_large": ["features.4.block.2.fc2.bias", "classifier.0.weight"],
    "shufflenet_v2_x1_0": [
        "stage2.0.branch1.0.weight", "stage4.3.branch2.6.running_var", "conv5.1.bias",
    ],
    "efficientnet_b0": ["features.2.0.block.2.fc1.weight", "features.8.1.running_var"],
    "efficientnet_v2_s": ["features.1.0.block.0.0.weight", "features.4.0.block.2.fc2.weight"],
    "convnext_tiny": [
        "features.1.0.layer_scale", "features.1.0.block.5.weight", "features.2.0.weight",
        "features.2.1.bias", "classifier.0.weight",
    ],
    "vit_b_16": [
        "conv_proj.weight", "encoder.pos_embedding",
        "encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
        "encoder.layers.encoder_layer_11.self_attention.out_proj.bias",
        "encoder.layers.encoder_layer_11.mlp.3.weight", "encoder.ln.weight",
    ],
}  # fmt: skip

# Models that are quick to draw, and what makes them so; images that they take.
QUICK = {
    "resnet18": ({}, 32),
    "squeezenet1_0": ({}, 33),
    "squeezenet1_1": ({}, 33),
    "densenet121": ({"num_classes": 10, "drop_rate": 0.1}, 32),
    "mobilenet_v2": ({"width_mult": 0.5}, 32),
    "mobilenet_v3_small": ({}, 33),
    "mobilenet_v3_large": ({"reduced_tail": True, "dilated": True, "num_classes": 10}, 32),
    "shufflenet_v2_x0_5": ({}, 32),
    "efficientnet_b0": ({"num_classes": 10}, 32),
}
QUIETLY = {"googlenet": {"init_weights": True}, "inception_v3": {"init_weights": True}}


@pytest.fixture
def undrawn(monkeypatch):
    """Constructing without drawing: large models in no time."""
    for name in ("uniform_", "normal_", "trunc_normal_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)
    monkeypatch.setattr(suiren.Tensor, "normal_", lambda tensor, *args, **kwargs: tensor)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of checkpoints."""
    monkeypatch.setattr(hub, "_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def filled(model):
    """The model with small numbers that depend on nothing but sizes, in every tensor."""
    with suiren.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                places = suiren.arange(tensor.numel(), dtype=suiren.float32)
                tensor.copy_(((places * 0.7).sin() * 0.05 + 0.06).reshape(tensor.shape))
    return model


# ---- structure


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_and_names(name, undrawn):
    parameters, entries, first, last = PUBLISHED[name]
    model = models.get_model(name, **QUIETLY.get(name, {}))
    names = list(model.state_dict())
    assert count(model) == parameters
    assert (len(names), names[0], names[-1]) == (entries, first, last)
    assert set(NAMES.get(name, ())) <= set(names)
    figures = {weights.meta["num_params"] for weights in models.get_model_weights(name)}
    assert parameters in figures or name == "googlenet"


def test_every_model_is_listed():
    assert set(models.list_models()) == {*PUBLISHED, "cnn", "cnn4", "mlp"}


def test_googlenet_without_its_auxiliary_classifiers(undrawn):
    model = models.googlenet(aux_logits=False, init_weights=False)
    assert count(model) == 6624904 == models.GoogLeNet_Weights.DEFAULT.meta["num_params"]


def test_arguments_of_the_classes():
    resnet = inspect.getmodule(models.ResNet)
    signature = inspect.signature(models.ResNet)
    assert list(signature.parameters) == [
        "block", "layers", "num_classes", "zero_init_residual", "groups", "width_per_group",
        "replace_stride_with_dilation", "norm_layer",
    ]  # fmt: skip
    model = models.ResNet(
        resnet.Bottleneck, [1, 1, 1, 1], num_classes=7, zero_init_residual=True, groups=2,
        width_per_group=32, replace_stride_with_dilation=[False, True, True],
        norm_layer=lambda channels: nn.GroupNorm(8, channels),
    )  # fmt: skip
    assert model.layer4[0].conv2.dilation == (2, 2) and model.layer4[0].conv2.stride == (1, 1)
    assert model.layer1[0].conv2.groups == 2
    assert float(model.layer3[0].bn3.weight.abs().sum()) == 0
    assert model(suiren.zeros(1, 3, 32, 32)).shape == (1, 7)
    with pytest.raises(ValueError, match="3-element tuple"):
        models.ResNet(resnet.BasicBlock, [1] * 4, replace_stride_with_dilation=[True])
    with pytest.raises(ValueError, match="groups=1"):
        resnet.BasicBlock(8, 8, groups=2)
    with pytest.raises(NotImplementedError, match="Dilation"):
        resnet.BasicBlock(8, 8, dilation=2)
    with pytest.raises(ValueError, match="Unsupported SqueezeNet version 2"):
        models.SqueezeNet("2")
    with pytest.raises(NotImplementedError, match="memory_efficient"):
        models.DenseNet(memory_efficient=True)
    with pytest.raises(ValueError, match="parameter 'groups' expected value 32 but got 4"):
        models.resnext50_32x4d(groups=4)


def test_default_initialisation_of_two_models_warns():
    blocks = [nn.Identity] * 3
    with pytest.warns(FutureWarning, match="init_weights"):
        models.GoogLeNet(blocks=blocks)
    with pytest.raises(ValueError, match="blocks length should be 3 instead of 1"):
        models.GoogLeNet(blocks=blocks[:1], init_weights=False)
    with pytest.raises(ValueError, match="should be 7 not 3"):
        models.Inception3(inception_blocks=blocks, init_weights=False)


# ---- results


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_take_part_while_training(name, undrawn):
    size = 64 if name == "googlenet" else 299
    model = filled(models.get_model(name, num_classes=3, init_weights=False))
    images = suiren.zeros(2, 3, size, size)
    assert model.eval()(images[:, :, :75, :75]).shape == (2, 3)
    if name == "inception_v3":  # a forward pass at 299 pixels is slow: its parts are what counts
        assert model.AuxLogits.eval()(suiren.zeros(2, 768, 17, 17)).shape == (2, 3)
        return
    outputs = model.train()(images)
    assert outputs._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [tuple(part.shape) for part in outputs] == [(2, 3)] * 3


def test_vision_transformer_wants_its_size():
    model = models.VisionTransformer(8, 4, 1, 2, 8, 16, num_classes=5, representation_size=6)
    assert model(suiren.zeros(2, 3, 8, 8)).shape == (2, 5)
    with pytest.raises(ValueError, match="Wrong image width! Expected 8 but got 12"):
        model(suiren.zeros(2, 3, 8, 12))
    with pytest.raises(ValueError, match="indivisible by patch size"):
        models.VisionTransformer(9, 4, 1, 2, 8, 16)


# The sum over all initial weights under seed 0, and of absolute values, from PyTorch.
DRAWN = {
    "resnet18": (4772.76691031152, 235862.11503662038),
    "squeezenet1_0": (87.83560704778901, 55126.85521507729),
    "squeezenet1_1": (32.49884702100161, 54056.98926081185),
    "densenet121": (41725.21089535105, 329372.031289873),
    "mobilenet_v2": (9310.793255187162, 70229.3124014381),
    "mobilenet_v3_small": (6116.163317174744, 92390.54483785758),
    "mobilenet_v3_large": (9689.981533126473, 134172.0345756766),
    "shufflenet_v2_x0_5": (3987.1598087903717, 36263.62592292542),
    "efficientnet_b0": (21054.590573496986, 281121.4847859519),
}


@pytest.mark.parametrize("name", DRAWN)
def test_initial_values_are_pytorchs(name):
    suiren.manual_seed(0)
    model = models.get_model(name, **QUICK[name][0])
    values = [parameter.detach().double() for parameter in model.parameters()]
    found = sum(float(v.sum()) for v in values), sum(float(v.abs().sum()) for v in values)
    np.testing.assert_allclose(found, DRAWN[name], rtol=1e-9)


def both(name, **config):
    """The model here and under PyTorch, each drawn from seed 0."""
    torch = pytest.importorskip("torch")
    from torch_models import torch_models

    torch.manual_seed(0)
    theirs = torch_models().get_model(name, **config)
    suiren.manual_seed(0)
    return models.get_model(name, **config), theirs


def compare(ours, theirs, size):
    """Equal states, then equal results in eval and train mode, from equal random numbers.

    Training is compared in float64: with a batch of two, batch normalisation makes +1 and -1 of
    however small a difference, and so would make noise of float32's rounding.
    """
    torch = pytest.importorskip("torch")
    state = theirs.state_dict()
    mine = ours.state_dict()
    assert list(mine) == list(state)
    for name, tensor in mine.items():
        np.testing.assert_allclose(tensor.numpy(), state[name].numpy(), rtol=1e-6, atol=1e-8,
                                   err_msg=name)  # fmt: skip
    ours.load_state_dict({k: suiren.from_numpy(v.numpy().copy()) for k, v in state.items()})
    drawn = np.random.default_rng(0).standard_normal((2, 3, size, size))
    for training in (False, True):
        ours.train(training).to(suiren.float64 if training else suiren.float32)
        theirs.train(training).to(torch.float64 if training else torch.float32)
        images = drawn.astype(np.float64 if training else np.float32)
        suiren.manual_seed(1)
        torch.manual_seed(1)
        with suiren.no_grad(), torch.no_grad():
            found, expected = ours(suiren.from_numpy(images)), theirs(torch.from_numpy(images))
        parts = [(found, expected)] if not isinstance(found, tuple) else zip(
            found, expected, strict=True
        )
        for mine_, theirs_ in parts:
            theirs_ = theirs_.numpy()
            scale = np.abs(theirs_).max() + 1e-6
            np.testing.assert_allclose(mine_.numpy() / scale, theirs_ / scale, atol=2e-4)


@pytest.mark.parametrize("name", QUICK)
def test_against_pytorch(name):
    config, size = QUICK[name]
    compare(*both(name, **config), size)


def test_googlenet_against_pytorch():
    compare(*both("googlenet", init_weights=True, transform_input=True, num_classes=10), 32)


def torch_class(module, name):
    import importlib

    from torch_models import torch_models

    torch_models()
    return getattr(importlib.import_module(f"torchzoo.models.{module}"), name)


def our_class(module, name):
    import importlib

    return getattr(importlib.import_module(f"suiren.vision.models.{module}"), name)


def small_resnext(get):
    return get("resnet", "ResNet")(
        get("resnet", "Bottleneck"), [1, 2, 1, 1], num_classes=5, zero_init_residual=True,
        groups=4, width_per_group=8, replace_stride_with_dilation=[False, False, True],
    )  # fmt: skip


def small_vgg(get):
    return get("vgg", "make_layers")([8, "M", 16, 16, "M"], batch_norm=True)


def small_transformer(get):
    return get("vision_transformer", "VisionTransformer")(
        16, 4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, dropout=0.1, num_classes=5,
        attention_dropout=0.1, representation_size=6,
    )  # fmt: skip


def transformer_with_stem(get):
    stem = get("vision_transformer", "ConvStemConfig")
    return get("vision_transformer", "VisionTransformer")(
        16, 4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=5,
        conv_stem_configs=[stem(4, 3, 2), stem(6, 3, 2)],
    )  # fmt: skip


def small_convnext(get):
    stage = get("convnext", "CNBlockConfig")
    return get("convnext", "ConvNeXt")(
        [stage(8, 12, 1), stage(12, None, 2)], stochastic_depth_prob=0.5, layer_scale=0.5,
        num_classes=5,
    )  # fmt: skip


def small_efficientnet_v2(get):
    plain, fused = get("efficientnet", "MBConvConfig"), get("efficientnet", "FusedMBConvConfig")
    return get("efficientnet", "EfficientNet")(
        [fused(1, 3, 1, 8, 8, 2), fused(4, 3, 2, 8, 16, 2), plain(4, 3, 1, 16, 16, 2)], 0.2,
        stochastic_depth_prob=0.5, num_classes=5, last_channel=32,
    )  # fmt: skip


def inception_block(kind, *args):
    def make(get):
        return nn_of(get).Sequential(
            get("inception", "BasicConv2d")(3, 8, kernel_size=3), get("inception", kind)(8, *args)
        )

    make.__name__ = kind
    return make


def nn_of(get):
    if get is our_class:
        return nn
    return pytest.importorskip("torch").nn


SMALL = [
    small_resnext, small_vgg, small_transformer, transformer_with_stem, small_convnext,
    small_efficientnet_v2, inception_block("InceptionA", 4), inception_block("InceptionB"),
    inception_block("InceptionC", 6), inception_block("InceptionD"), inception_block("InceptionE"),
]  # fmt: skip


@pytest.mark.parametrize("make", SMALL, ids=[make.__name__ for make in SMALL])
def test_small_models_against_pytorch(make):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = make(torch_class)
    suiren.manual_seed(0)
    ours = make(our_class)
    compare(ours, theirs, 16)


def test_gradients_against_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = both("squeezenet1_1", num_classes=4)
    images = np.random.default_rng(0).standard_normal((2, 3, 33, 33)).astype(np.float32)
    ours.eval()(suiren.from_numpy(images)).square().sum().backward()
    theirs.eval()(torch.from_numpy(images)).square().sum().backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        scale = float(other.grad.abs().max()) + 1e-12
        np.testing.assert_allclose(
            mine.grad.numpy() / scale, other.grad.numpy() / scale, atol=1e-4, err_msg=name
        )


# ---- building blocks


def test_stochastic_depth():
    x = suiren.ones(4, 2)
    assert stochastic_depth(x, 0.5, "row", training=False) is x
    suiren.manual_seed(0)
    rows = stochastic_depth(x, 0.5, "row").tolist()
    assert all(row in ([0, 0], [2, 2]) for row in rows)
    assert stochastic_depth(x, 1.0, "batch").tolist() == [[0, 0]] * 4
    assert repr(StochasticDepth(0.1, "row")) == "StochasticDepth(p=0.1, mode=row)"
    with pytest.raises(ValueError, match="between 0 and 1"):
        stochastic_depth(x, 1.5, "row")
    with pytest.raises(ValueError, match="mode"):
        stochastic_depth(x, 0.5, "column")


def test_blocks():
    block = Conv2dNormActivation(3, 4, kernel_size=(3, 5), dilation=2)
    assert block(suiren.zeros(1, 3, 9, 9)).shape == (1, 4, 9, 9)
    assert block[0].bias is None and isinstance(block[2], nn.ReLU)
    assert Conv2dNormActivation(3, 4, norm_layer=None, activation_layer=None)[0].bias is not None
    assert [type(m).__name__ for m in MLP(2, [3, 4], norm_layer=nn.LayerNorm)] == [
        "Linear", "LayerNorm", "ReLU", "Dropout", "Linear", "Dropout",
    ]  # fmt: skip
    assert Permute([1, 0])(suiren.zeros(2, 3)).shape == (3, 2)
    live, frozen = nn.BatchNorm2d(2), FrozenBatchNorm2d(2)
    live.running_mean.copy_(suiren.tensor([1.0, 2.0]))
    frozen.load_state_dict(live.state_dict())
    x = suiren.arange(16.0).reshape(2, 2, 2, 2)
    np.testing.assert_allclose(frozen(x).numpy(), live.eval()(x).detach().numpy(), rtol=1e-5)


# ---- weights


def test_enums_of_weights():
    weights = models.ResNet50_Weights
    assert weights.DEFAULT is weights.IMAGENET1K_V2
    assert repr(weights.DEFAULT) == "ResNet50_Weights.IMAGENET1K_V2"
    assert weights.DEFAULT.url == "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"
    assert weights.DEFAULT.meta["_metrics"]["ImageNet-1K"] == {"acc@1": 80.858, "acc@5": 95.434}
    assert models.get_model_weights("resnet50") is weights
    assert models.get_model_weights(models.resnet50) is weights
    assert models.get_weight("ResNet50_Weights.IMAGENET1K_V1") is weights.IMAGENET1K_V1
    assert weights.verify("DEFAULT") is weights.DEFAULT and weights.verify(None) is None
    with pytest.raises(TypeError, match="expected ResNet50_Weights but received ResNet18_Weights"):
        models.resnet50(weights=models.ResNet18_Weights.DEFAULT)
    with pytest.raises(KeyError):
        weights.verify("IMAGENET22K")
    for bad in ("ResNet50_Weights", "Nothing_Weights.DEFAULT", "ResNet50_Weights.V9", "nn.Module"):
        with pytest.raises(ValueError):
            models.get_weight(bad)
    with pytest.raises(ValueError, match="no published weights"):
        models.get_model_weights("mlp")


def test_every_file_has_its_hash_in_its_name():
    found = [w for name in PUBLISHED for w in models.get_model_weights(name)]
    assert len({w.url for w in found}) == len(found) == 69
    for weights in found:
        assert weights.url.startswith("https://download.pytorch.org/models/")
        assert hub._HASH_IN_NAME.search(weights.url), weights.url


def test_listing():
    assert models.list_models(include="vgg1?") == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert models.list_models(inspect.getmodule(models.AlexNet)) == ["alexnet"]
    assert models.list_models(include=["res*", "wide*"], exclude=["*101*", "resnext*"]) == [
        "resnet152", "resnet18", "resnet34", "resnet50", "wide_resnet50_2",
    ]  # fmt: skip
    assert models.get_model_builder("ResNet18") is models.resnet18


def saved_state(folder, weights, rename=lambda name: name, **config):
    """Fills the place of a published file with a state made here, and gives that state."""
    builder = weights.__class__.__name__.removesuffix("_Weights").lower()
    model = filled(models.get_model(builder, **config))
    state = {rename(name): tensor for name, tensor in model.state_dict().items()}
    suiren.save(state, folder / weights.url.rpartition("/")[2])
    return model.state_dict()


def same(model, state):
    found = model.state_dict()
    return list(found) == list(state) and all(bool((found[k] == state[k]).all()) for k in state)


def test_weights_are_loaded_from_the_folder(folder, undrawn):
    weights = models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    state = saved_state(folder, weights)
    for given in (weights, "DEFAULT", "SqueezeNet1_1_Weights.IMAGENET1K_V1"):
        assert same(models.squeezenet1_1(weights=given), state)
    with pytest.raises(ValueError, match="'num_classes' expected value 1000 but got 10"):
        models.squeezenet1_1(weights=weights, num_classes=10)


def test_old_ways_to_ask_for_weights(folder, undrawn):
    state = saved_state(folder, models.SqueezeNet1_1_Weights.IMAGENET1K_V1)
    with pytest.warns(UserWarning) as record:
        assert same(models.squeezenet1_1(pretrained=True), state)
    told = [str(warning.message) for warning in record]
    assert "'pretrained' is deprecated since 0.13" in told[0]
    assert "equivalent to passing `weights=SqueezeNet1_1_Weights.IMAGENET1K_V1`" in told[1]
    with pytest.warns(UserWarning) as record:
        assert same(models.squeezenet1_1(True, False), state)
    assert "'weights' and 'progress' as positional parameter" in str(record[0].message)
    with pytest.warns(UserWarning, match="equivalent to passing `weights=None`"):
        models.squeezenet1_1(weights=False)
    with pytest.raises(TypeError, match="at most"):
        models.squeezenet1_1(True, False, 3)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="ViT_H_14_Weights"):
        models.vit_h_14(pretrained=True)


def test_densenets_old_names(folder, undrawn):
    import re

    def old(name):
        return re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name)

    assert old("denseblock1.denselayer2.norm1.weight") == "denseblock1.denselayer2.norm.1.weight"
    state = saved_state(folder, models.DenseNet121_Weights.IMAGENET1K_V1, old)
    assert same(models.densenet121(weights="DEFAULT"), state)


def test_googlenets_weights_leave_out_the_auxiliary_classifiers(folder, undrawn):
    state = saved_state(folder, models.GoogLeNet_Weights.IMAGENET1K_V1, init_weights=False)
    model = models.googlenet(weights="DEFAULT")
    assert model.transform_input and not model.aux_logits
    assert model.aux1 is None and model.aux2 is None
    assert same(model, {name: t for name, t in state.items() if name[:3] != "aux"})
    with pytest.warns(UserWarning, match="NOT pretrained"):
        assert same(models.googlenet(weights="DEFAULT", aux_logits=True), state)


def test_inceptions_weights(folder, undrawn):
    state = saved_state(folder, models.Inception_V3_Weights.IMAGENET1K_V1, init_weights=False)
    model = models.inception_v3(weights="DEFAULT")
    assert model.transform_input and model.aux_logits and same(model, state)
    model = models.inception_v3(weights="DEFAULT", aux_logits=False, transform_input=False)
    assert not model.transform_input and model.AuxLogits is None
    assert count(model) == 23834568


def test_files_of_before_batches_were_counted(undrawn):
    model = filled(models.resnet18())
    state = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    assert len(state) == 102  # as many as the published file has
    models.resnet18().load_state_dict(state)


def test_vision_transformers_old_names(undrawn):
    make = {"image_size": 8, "patch_size": 4, "num_layers": 2, "num_heads": 2, "hidden_dim": 8,
            "mlp_dim": 16, "num_classes": 5}  # fmt: skip
    state = filled(models.VisionTransformer(**make)).state_dict()
    old = {
        k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v
        for k, v in state.items()
    }
    assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in old
    model = models.VisionTransformer(**make)
    model.load_state_dict(old)
    assert same(model, state)


def test_interpolated_places():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    places = torch.randn(1, 10, 4)
    state = {"encoder.pos_embedding": suiren.from_numpy(places.numpy()), "heads.head.bias": 1}
    resize = our_class("vision_transformer", "interpolate_embeddings")
    found = resize(20, 4, state, reset_heads=True)
    expected = torch_class("vision_transformer", "interpolate_embeddings")(
        20, 4, {"encoder.pos_embedding": places}
    )
    assert list(found) == ["encoder.pos_embedding"]
    found, expected = found["encoder.pos_embedding"], expected["encoder.pos_embedding"]
    assert found.shape == (1, 26, 4)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="not a perfect square"):
        resize(20, 4, {"encoder.pos_embedding": suiren.zeros(1, 12, 4)})


def test_without_a_network_the_error_says_what_to_do(folder, undrawn, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(urllib.error.URLError) as caught:
        models.squeezenet1_1(weights="DEFAULT", progress=False)
    told = str(caught.value)
    for part in ("https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
                 "no route to host", str(folder / "squeezenet1_1-b8a52dc0.pth")):  # fmt: skip
        assert part in told
    assert list(folder.iterdir()) == []


def test_preprocessing():
    Image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    preprocess = models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    batch = preprocess(Image.fromarray(pixels))
    assert batch.shape == (3, 224, 224) and batch.dtype is suiren.float32
    assert "resize_size=[256]" in repr(preprocess)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = preprocess(suiren.from_numpy(pixels).permute(2, 0, 1))
    np.testing.assert_allclose(tensor.numpy(), batch.numpy(), atol=0.05)
