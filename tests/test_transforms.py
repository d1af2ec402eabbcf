"""suiren.vision.transforms against Pillow, against grid_sample, by hand, and by properties.

Random transforms are compared with the draws that torchvision is documented to make, made here
with the generator itself, and with recorded numbers.
"""

import math
import random

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import suiren as torch
from suiren.nn import functional as nnF
from suiren.vision import transforms as T
from suiren.vision.transforms import functional as F
from suiren.vision.transforms import points as P
from suiren.vision.transforms import v2
from suiren.vision.transforms.draws import dirichlet
from suiren.vision.transforms.tensor_color import hsv_to_rgb, rgb_to_hsv
from suiren.vision.transforms.warps import inverse_affine_matrix

BILINEAR = T.InterpolationMode.BILINEAR


@pytest.fixture(scope="module")
def picture():
    """A photograph's stand-in: smooth colours and noise, 51 wide and 37 high."""
    y, x = np.mgrid[0:37, 0:51]
    smooth = np.stack([x * 5 % 256, y * 6, (x + y) * 2], -1)
    noise = np.random.default_rng(5).integers(-20, 20, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def tensor(picture):
    return F.pil_to_tensor(picture)


def pixels(image):
    """(C, H, W) as integers, of either kind of image."""
    array = np.asarray(image) if isinstance(image, Image.Image) else image.numpy()
    if isinstance(image, Image.Image):
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return array.astype(np.int64)


# ---- conversions


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_eight_bit_images_go_to_a_tensor_and_back(picture, mode):
    image = picture.convert("RGB").convert(mode) if mode != "LA" else picture.convert("LA")
    found = F.to_tensor(image)
    array = np.asarray(image).reshape(37, 51, -1).transpose(2, 0, 1)
    assert found.dtype is torch.float32 and found.shape == array.shape and found.is_contiguous()
    assert np.array_equal(found.numpy(), array.astype(np.float32) / np.float32(255))
    assert np.array_equal(F.pil_to_tensor(image).numpy(), array)
    back = F.to_pil_image(F.pil_to_tensor(image), mode)
    assert back.mode == mode and back.tobytes() == image.tobytes()


def test_deep_and_bilevel_images_to_tensors():
    values = np.array([[0, 1000], [40000, 65535]], np.uint16)
    deep = F.to_tensor(Image.fromarray(values))
    assert deep.dtype is torch.int16 and deep.numpy().view(np.uint16).tolist() == [values.tolist()]
    whole = F.to_tensor(Image.fromarray(values.astype(np.int32)))
    assert whole.dtype is torch.int32 and whole[0, 1, 1].item() == 65535
    floats = F.to_tensor(Image.fromarray(values.astype(np.float32)))
    assert floats.dtype is torch.float32 and floats[0, 1, 0].item() == 40000.0
    bilevel = F.to_tensor(Image.fromarray(np.array([[True, False]])))
    assert bilevel.tolist() == [[[1.0, 0.0]]]
    assert F.to_pil_image(torch.tensor(values.astype(np.int32))).mode == "I"
    assert F.to_pil_image(torch.tensor(values.astype(np.float32)), "F").mode == "F"


def test_arrays_to_tensors_and_what_is_refused():
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert F.to_tensor(array).shape == (3, 2, 4)
    assert F.to_tensor(array.astype(np.float64)).dtype is torch.float64  # not scaled
    assert F.to_tensor(array[..., 0]).shape == (1, 2, 4)
    with pytest.raises(TypeError, match="PIL Image or ndarray"):
        F.to_tensor(torch.zeros(1))
    with pytest.raises(ValueError, match="2/3 dimensional"):
        F.to_tensor(np.zeros(3))
    with pytest.raises(TypeError, match="should be PIL Image"):
        F.pil_to_tensor(array)
    with pytest.raises(ValueError, match="> 4 channels"):
        F.to_pil_image(torch.zeros(5, 2, 2))
    with pytest.raises(ValueError, match="Only modes"):
        F.to_pil_image(array, "L")
    with pytest.raises(TypeError, match="Image"):
        F.hflip(array)


def test_a_tensor_made_from_an_image_owns_its_memory(picture):
    found = F.pil_to_tensor(picture)
    found[0, 0, 0] = 99
    found.numpy()[0, 0, 1] = 98
    assert found[0, 0, :2].tolist() == [99, 98]
    assert picture.getpixel((0, 0))[0] != 99


def test_image_dtypes_keep_white_white():
    white = {torch.uint8: 255, torch.int16: 32767, torch.float32: 1.0, torch.int32: 2**31 - 1}
    for source, value in white.items():
        for wanted, expected in white.items():
            if source is torch.float32 and wanted is torch.int32:
                continue
            image = torch.full((1, 1, 1), value, dtype=source)
            found = F.convert_image_dtype(image, wanted).item()
            # Widening an integer type multiplies; the low bits stay 0.
            assert (
                found == expected
                or (found >= expected - 2**24 and wanted is torch.int32)
                or (wanted is torch.int16 and found == 255 * 128)
            )
    with pytest.raises(RuntimeError, match="cannot be performed safely"):
        F.convert_image_dtype(torch.zeros(1, 1, 1), torch.int32)
    assert F.convert_image_dtype(torch.tensor([0.999, 0.4999]), torch.uint8).tolist() == [255, 127]


def test_normalize_by_hand_in_every_path():
    image = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))
    mean, std = [0.1, 0.2, 0.3], (0.5, 0.25, 2.0)
    means = np.array(mean, np.float32).reshape(3, 1, 1)
    expected = (image.numpy() - means) / np.array(std, np.float32).reshape(3, 1, 1)
    assert np.array_equal(F.normalize(image, mean, std).numpy(), expected)
    batch = F.normalize(torch.stack([image, image]), mean, std)
    assert np.array_equal(batch[1].numpy(), expected)
    pending = (image + 0.0).requires_grad_()
    found = F.normalize(pending, torch.tensor(mean), torch.tensor(std))
    assert np.array_equal(found.detach().numpy(), expected)
    found.sum().backward()
    assert np.allclose(pending.grad[:, 0, 0].numpy(), 1 / np.array(std))
    own = image.clone()
    assert T.Normalize(mean, std, inplace=True)(own) is own
    assert np.array_equal(own.numpy(), expected)
    with pytest.raises(ValueError, match="std evaluated to zero"):
        F.normalize(image, mean, [1.0, 0.0, 1.0])
    with pytest.raises(TypeError, match="float tensor"):
        F.normalize(image.to(torch.uint8), mean, std)
    with pytest.raises(ValueError, match="tensor image"):
        F.normalize(image[0], mean, std)
    with pytest.raises(RuntimeError):
        F.normalize(image, [0.1, 0.2], [0.1, 0.2])


def test_mean_and_std_may_change_between_calls():
    step = T.Normalize([0.5], [0.5])
    image = torch.ones(1, 1, 1)
    assert step(image).item() == 1.0
    step.mean[0] = 0.0
    assert step(image).item() == 2.0


# ---- geometry


def test_cutting_flipping_and_padding_agree_for_both_kinds(picture, tensor):
    for change in (
        F.hflip,
        F.vflip,
        lambda x: F.crop(x, 3, 5, 10, 12),
        lambda x: F.crop(x, -3, -5, 60, 70),
        lambda x: F.center_crop(x, [20, 31]),
        lambda x: F.center_crop(x, 44),
        lambda x: F.pad(x, 3, fill=7),
        lambda x: F.pad(x, [1, 2]),
        lambda x: F.pad(x, [1, 2, 3, 4], padding_mode="edge"),
        lambda x: F.pad(x, [1, 2, 3, 4], padding_mode="reflect"),
        lambda x: F.pad(x, [5, 2, 3, 4], padding_mode="symmetric"),
        lambda x: F.pad(x, [-5, 2, 3, -4], padding_mode="symmetric"),
        lambda x: F.five_crop(x, 12)[3],
        lambda x: F.ten_crop(x, 12)[6],
    ):
        assert np.array_equal(pixels(change(picture)), pixels(change(tensor)))
    assert torch.equal(F.hflip(F.hflip(tensor)), tensor)
    assert torch.equal(F.vflip(tensor), tensor.flip(-2))
    batch = torch.stack([tensor, tensor])
    assert torch.equal(F.pad(batch, 2, padding_mode="reflect")[1], F.pad(tensor, 2, 0, "reflect"))


def test_a_flipped_or_padded_image_does_not_share_memory(tensor):
    own = tensor.clone()
    mirrored, padded = F.hflip(own), F.pad(own, 0)
    own.zero_()
    assert torch.equal(mirrored, F.hflip(tensor)) and torch.equal(padded, tensor)


def test_gradients_flow_through_tensor_transforms():
    image = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
    found = F.hflip(F.crop(F.pad(image, 1), 1, 1, 6, 6)).sum() + F.resize(image, [3, 3]).sum()
    found = found + F.rotate(image, 90.0).sum() + F.adjust_contrast(image, 1.0).sum()
    found.backward()
    # 1 for the copy, 1/4 for the average of 2x2 (with antialias neighbours share), 1, 1
    assert abs(image.grad.sum().item() - (36 + 9 + 36 + 36)) < 1e-3


def test_resize_against_pillow_and_interpolate(picture, tensor):
    for size in (20, [15, 60], [70, 80]):
        for mode in (BILINEAR, T.InterpolationMode.BICUBIC):
            by_pillow, ours = F.resize(picture, size, mode), F.resize(tensor, size, mode)
            assert by_pillow.size == (ours.shape[2], ours.shape[1])
            # Pillow rounds between its two passes
            assert np.abs(pixels(by_pillow) - pixels(ours)).max() <= 2
    plain = F.resize(tensor, [15, 20], antialias=False)
    expected = nnF.interpolate(tensor[None].float(), (15, 20), mode="bilinear")[0].round()
    assert torch.equal(plain, expected.to(torch.uint8))
    assert F.resize(picture, 20).size == (27, 20) and F.resize(picture, 20, max_size=25).size == (
        25, 18
    )  # fmt: skip
    assert F.resize(tensor, [37, 51]) is tensor
    with pytest.raises(ValueError, match="max_size"):
        F.resize(tensor, 20, max_size=20)
    with pytest.raises(ValueError, match="unsupported with Tensor"):
        F.resize(tensor, 20, T.InterpolationMode.LANCZOS)
    assert T.Resize(20, interpolation=2).interpolation is BILINEAR


def test_rotation_by_right_angles_is_exact(picture, tensor):
    square = tensor[:, :37, :37]
    for turns in range(5):
        expected = torch.rot90(square, turns, (1, 2))
        assert torch.equal(F.rotate(square, 90.0 * turns), expected)
        assert torch.equal(F.rotate(square, 90.0 * turns, BILINEAR), expected)
    assert torch.equal(F.rotate(tensor, 90.0, expand=True), torch.rot90(tensor, 1, (1, 2)))
    assert F.rotate(picture, 30.0, expand=True).size == (63, 59)
    assert F.rotate(tensor, 30.0, expand=True).shape == (3, 59, 63)


def test_warps_by_nearest_neighbour_agree_with_pillow(picture, tensor):
    near = T.InterpolationMode.NEAREST
    start = [[0, 0], [50, 0], [50, 36], [0, 36]]
    end = [[4, 3], [47, 1], [49, 30], [2, 35]]
    for change in (
        lambda x: F.rotate(x, 33.0, fill=[1.0, 2.0, 3.0]),
        lambda x: F.rotate(x, -12.0, center=[10, 8]),
        lambda x: F.affine(x, 15.0, [3, -2], 1.2, [5.0, -4.0], fill=[9.0, 9.0, 9.0]),
        lambda x: F.affine(x, 0.0, [7, 0], 1.0, 0.0, center=[0, 0]),
        lambda x: F.perspective(x, start, end, near),
    ):
        wrong = (pixels(change(picture)) != pixels(change(tensor))).mean()
        assert wrong < 0.003  # ties between two pixels fall either way


def test_affine_grid_is_torchs_affine_grid(tensor):
    matrix = inverse_affine_matrix([0.0, 0.0], 20.0, [2.0, 1.0], 1.1, [3.0, 0.0])
    a, b, c, d, e, f = matrix
    height, width = 37, 51
    # affine_grid speaks of coordinates from -1 to 1
    theta = torch.tensor(
        [[[a, b * height / width, 2 * c / width], [d * width / height, e, 2 * f / height]]]
    )
    grid = nnF.affine_grid(theta, (1, 3, height, width), align_corners=False)
    expected = nnF.grid_sample(tensor[None].float(), grid, align_corners=False)[0]
    found = F.affine(tensor.float(), 20.0, [2, 1], 1.1, [3.0, 0.0], BILINEAR)
    assert (found - expected).abs().max().item() < 0.02


def test_an_inverse_affine_matrix_undoes_rotation_scale_shear_and_move():
    angle, scale, shear = 0.3, 1.5, (0.2, -0.1)
    a, b, c, d, e, f = inverse_affine_matrix(
        [4.0, 5.0], math.degrees(angle), [2.0, -1.0], scale, [math.degrees(s) for s in shear]
    )
    rotate = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear_y = np.array([[1, 0], [-math.tan(shear[1]), 1]])
    shear_x = np.array([[1, -math.tan(shear[0])], [0, 1]])
    forward = scale * rotate @ shear_y @ shear_x
    point = np.array([7.0, 3.0])
    moved = forward @ (point - [4, 5]) + [4, 5] + [2, -1]
    assert np.allclose(np.array([[a, b], [d, e]]) @ moved + [c, f], point)


def test_gaussian_blur_by_hand(tensor):
    spot = torch.zeros(1, 5, 5)
    spot[0, 2, 2] = 1.0
    side = math.exp(-0.5 / 0.64)
    line = np.array([side, 1.0, side]) / (1 + 2 * side)
    found = F.gaussian_blur(spot, 3, 0.8)
    assert np.allclose(found[0, 1:4, 1:4].numpy(), np.outer(line, line), atol=1e-6)
    assert F.gaussian_blur(tensor, [3, 5]).dtype is torch.uint8
    with pytest.raises(ValueError, match="odd"):
        F.gaussian_blur(tensor, 4)


# ---- colours


def test_colours_agree_with_pillow(picture, tensor):
    exact = {
        "invert": (F.invert, ImageOps.invert),
        "posterize": (lambda x: F.posterize(x, 3), lambda x: ImageOps.posterize(x, 3)),
        "solarize": (lambda x: F.solarize(x, 99), lambda x: ImageOps.solarize(x, 99)),
        "equalize": (F.equalize, ImageOps.equalize),
        "autocontrast": (F.autocontrast, ImageOps.autocontrast),
        "sharpness": (
            lambda x: F.adjust_sharpness(x, 1.7),
            lambda x: ImageEnhance.Sharpness(x).enhance(1.7),
        ),
        "brightness": (
            lambda x: F.adjust_brightness(x, 1.3),
            lambda x: ImageEnhance.Brightness(x).enhance(1.3),
        ),
    }
    for name, (ours, pillows) in exact.items():
        expected = pixels(pillows(picture))
        assert np.array_equal(pixels(ours(picture)), expected), name
        assert np.abs(pixels(ours(tensor)) - expected).max() <= 1, name
    # Pillow's grey and hue are made of small integers
    for change, limit in (
        (lambda x: F.rgb_to_grayscale(x, 3), 1),
        (lambda x: F.adjust_contrast(x, 0.4), 1),
        (lambda x: F.adjust_saturation(x, 1.8), 2),
        (lambda x: F.adjust_hue(x, 0.0), 8),
        (lambda x: F.adjust_gamma(x, 2.2, 0.9), 1),
    ):
        assert np.abs(pixels(change(picture)) - pixels(change(tensor))).max() <= limit


def test_hue_saturation_value_by_hand_and_back(tensor):
    colours = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.5]])
    found = rgb_to_hsv(colours.T[:, :, None])[:, :, 0].T
    third = 1 / 3
    expected = [[0, 1, 1], [third, 1, 1], [2 * third, 1, 1], [0, 0, 0.5]]
    assert np.allclose(found.numpy(), expected, atol=1e-6)
    floats = tensor.float() / 255
    assert (hsv_to_rgb(rgb_to_hsv(floats)) - floats).abs().max().item() < 1e-5
    turned = F.adjust_hue(F.adjust_hue(floats, 0.3), -0.3)
    assert (turned - floats).abs().max().item() < 1e-5
    assert torch.equal(F.adjust_hue(floats[:1], 0.2), floats[:1])
    with pytest.raises(ValueError, match="hue_factor"):
        F.adjust_hue(floats, 0.6)


def test_brightness_and_contrast_at_their_ends(tensor):
    floats = tensor.float() / 255
    assert not F.adjust_brightness(floats, 0.0).any()
    assert torch.equal(F.adjust_brightness(floats, 1.0), floats)
    grey = F.adjust_contrast(floats, 0.0)
    assert abs(grey.max().item() - F.rgb_to_grayscale(floats).mean().item()) < 1e-5
    assert torch.equal(F.adjust_saturation(tensor, 0.0), F.rgb_to_grayscale(tensor, 3))
    with pytest.raises(ValueError, match="non-negative"):
        F.adjust_brightness(floats, -1.0)


# ---- what is drawn


def test_recorded_draws():
    """What the documented draws give in PyTorch 2.13 with a seed of 0."""
    image = torch.zeros(3, 40, 60)
    torch.manual_seed(0)
    assert T.RandomCrop.get_params(image, (10, 20)) == (18, 24, 10, 20)
    torch.manual_seed(0)
    assert T.RandomResizedCrop.get_params(image, (0.08, 1.0), (0.75, 4 / 3)) == (5, 14, 33, 39)
    torch.manual_seed(0)
    order, *factors = T.ColorJitter.get_params((0.5, 1.5), (0.5, 1.5), None, (-0.1, 0.1))
    assert order.tolist() == [0, 1, 3, 2] and factors[2] is None
    assert np.allclose(
        [factors[0], factors[1], factors[3]], [0.632030, 0.807423, 0.026816], atol=1e-6
    )
    torch.manual_seed(0)
    found = T.RandomAffine.get_params([-10.0, 10.0], (0.1, 0.2), (0.8, 1.2), [-5, 5], [60, 40])
    assert found[1] == (3, -7)
    assert np.allclose([found[0], found[2], found[3][0]], [-0.0748682, 0.8528122, -1.9257718])


def test_draws_follow_the_generator_in_torchvisions_order():
    image = torch.zeros(3, 40, 60)
    torch.manual_seed(11)
    found = T.RandomCrop.get_params(image, (10, 20))
    torch.manual_seed(11)
    assert found[:2] == (torch.randint(0, 31, (1,)).item(), torch.randint(0, 41, (1,)).item())

    torch.manual_seed(12)
    order, *factors = T.ColorJitter.get_params((0.5, 1.5), (0.2, 1.2), (0.0, 1.0), (-0.1, 0.1))
    torch.manual_seed(12)
    assert order.tolist() == torch.randperm(4).tolist()
    ends = [(0.5, 1.5), (0.2, 1.2), (0.0, 1.0), (-0.1, 0.1)]
    assert factors == [torch.empty(1).uniform_(*pair).item() for pair in ends]

    torch.manual_seed(13)
    flips = [T.RandomHorizontalFlip()(torch.tensor([[[0, 1]]]))[0, 0, 0].item() for _ in range(20)]
    torch.manual_seed(13)
    assert flips == [int(torch.rand(1).item() < 0.5) for _ in range(20)]

    torch.manual_seed(14)
    found = T.RandomErasing.get_params(image, (0.1, 0.1), (1.0, 1.0), None)
    torch.manual_seed(14)
    torch.empty(1).uniform_(0.1, 0.1), torch.empty(1).uniform_(0.0, 0.0)
    noise = torch.empty([3, 15, 15]).normal_()
    assert found[2:4] == (15, 15) and torch.equal(found[4], noise)
    assert found[:2] == (torch.randint(0, 26, (1,)).item(), torch.randint(0, 46, (1,)).item())


def test_the_same_seed_does_the_same_to_both_kinds(picture, tensor):
    for transform in (
        T.RandomCrop(20, padding=4),
        T.RandomCrop(60, pad_if_needed=True),
        T.RandomHorizontalFlip(),
        T.RandomVerticalFlip(),
        T.RandomInvert(),
        T.RandomPosterize(2),
        T.RandomSolarize(100.0),
        T.RandomEqualize(),
        T.RandomAutocontrast(),
        T.RandomApply([T.RandomCrop(30)]),
    ):
        for seed in range(3):
            torch.manual_seed(seed)
            first, state = pixels(transform(picture)), torch.rand(1).item()
            torch.manual_seed(seed)
            second = pixels(transform(tensor))
            assert state == torch.rand(1).item(), transform
            assert first.shape == second.shape and np.abs(first - second).max() <= 1, transform


def test_augmentations_of_both_kinds(picture, tensor):
    policies = T.AutoAugmentPolicy
    for transform in (
        *(T.AutoAugment(policy) for policy in policies),
        T.RandAugment(),
        T.TrivialAugmentWide(),
        T.AugMix(),
    ):
        for seed in range(4):
            torch.manual_seed(seed)
            first, state = transform(picture), torch.rand(1).item()
            torch.manual_seed(seed)
            second = transform(tensor)
            assert state == torch.rand(1).item()
            assert first.size == picture.size and second.dtype is torch.uint8
            # colour differs by rounding, and equalize makes more of it
            assert np.abs(pixels(first) - pixels(second)).mean() < 6, (transform, seed)
    for policy in policies:
        assert len(T.AutoAugment(policy).policies) == 25
    with pytest.raises(ValueError, match="severity"):
        T.AugMix(severity=11)


def test_dirichlet_rows_sum_to_one_and_are_pytorchs():
    torch.manual_seed(0)
    found = dirichlet([[0.5, 1.0, 2.0]] * 2)
    assert np.allclose(found.sum(-1), 1.0)
    reference = pytest.importorskip("torch")
    reference.manual_seed(0)
    theirs = reference._sample_dirichlet(reference.tensor([[0.5, 1.0, 2.0]] * 2)).numpy()
    assert np.allclose(found, theirs, rtol=1e-6)


def test_erasing_writes_one_rectangle(tensor):
    torch.manual_seed(3)
    floats = tensor.float()
    found = T.RandomErasing(p=1.0, value=(1.5, 2.5, 3.5))(floats)
    changed = (found != floats).any(0)
    rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
    area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    assert changed.sum().item() == area.item() and 0.01 < area.item() / (37 * 51) < 0.4
    y, x = rows[0, 0].item(), columns[0, 0].item()
    assert found[:, y, x].tolist() == [1.5, 2.5, 3.5]
    with pytest.raises(ValueError, match="3"):
        T.RandomErasing(p=1.0, value=(1.0, 2.0))(floats)


def test_choices_and_orders_come_from_pythons_random():
    steps = [T.Lambda(lambda x, n=n: [*x, n]) for n in range(4)]
    random.seed(1)
    found = T.RandomOrder(steps)([])
    random.seed(1)
    expected = list(range(4))
    random.shuffle(expected)
    assert found == expected
    assert T.RandomChoice(steps, p=[0, 0, 1, 0])([]) == [2]
    with pytest.raises(TypeError, match="callable"):
        T.Lambda(3)


def test_what_is_printed():
    assert repr(T.Compose([T.Resize(8), T.ToTensor(), T.Normalize((0.5,), (0.5,))])) == (
        "Compose(\n    Resize(size=8, interpolation=bilinear, max_size=None, antialias=True)\n"
        "    ToTensor()\n    Normalize(mean=(0.5,), std=(0.5,))\n)"
    )
    assert repr(T.RandomCrop(4, padding=1)) == "RandomCrop(size=(4, 4), padding=1)"
    assert repr(T.ColorJitter(0.5)) == (
        "ColorJitter(brightness=(0.5, 1.5), contrast=None, saturation=None, hue=None)"
    )
    assert repr(T.RandomRotation(10)) == (
        "RandomRotation(degrees=[-10.0, 10.0], interpolation=nearest, expand=False, fill=0)"
    )


def test_wrong_arguments():
    for make, error in (
        (lambda: T.RandomCrop((1, 2, 3)), ValueError),
        (lambda: T.Pad("x"), TypeError),
        (lambda: T.Pad(1, padding_mode="around"), ValueError),
        (lambda: T.ColorJitter(-1), ValueError),
        (lambda: T.ColorJitter(hue=0.6), ValueError),
        (lambda: T.ColorJitter("a lot"), TypeError),
        (lambda: T.RandomRotation(-3), ValueError),
        (lambda: T.GaussianBlur(2), ValueError),
        (lambda: T.RandomErasing(value="black"), ValueError),
        (lambda: T.RandomAffine(0, translate=(2, 0)), ValueError),
        (lambda: T.Resize(8, interpolation="bilinear"), TypeError),
        (lambda: T.RandomCrop(9)(torch.zeros(1, 4, 4)), ValueError),
        (lambda: T.LinearTransformation(torch.zeros(2, 3), torch.zeros(2)), ValueError),
    ):
        with pytest.raises(error):
            make()


def test_linear_transformation_and_v2(picture):
    whiten = T.LinearTransformation(torch.eye(4) * 2, torch.ones(4))
    assert whiten(torch.ones(1, 2, 2) * 3).tolist() == [[[4.0, 4.0], [4.0, 4.0]]]
    steps = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    assert torch.equal(steps(picture), T.ToTensor()(picture))
    assert v2.ToDtype(torch.float32)(v2.ToImage()(picture)).max().item() > 1


# ---- points


def test_points_stay_on_what_they_mark():
    """A bright pixel and the point on it go the same way."""
    for seed in range(6):
        torch.manual_seed(seed)
        image = torch.zeros(1, 60, 60)
        image[0, 28:33, 18:23] = 1.0  # its middle is pixel (20, 30)
        steps = P.Compose(
            [
                P.RandomHorizontalFlip(),
                P.RandomAffine(20.0, (0.1, 0.1), (0.9, 1.1)),
                P.RandomCrop(55),
                P.Resize((110, 110)),
            ]
        )
        found, where = steps(image, torch.tensor([[20.0, 30.0]]))
        y, x = np.mgrid[0:110, 0:110]
        weight = found[0].numpy() / found.sum().item()
        # resizing moves middles of pixels by half a pixel of the new size
        middle = np.array([(x * weight).sum(), (y * weight).sum()])
        assert np.abs(middle - where[0].numpy()).max() < 0.75, seed
    _, shares = P.Scale()(image, torch.tensor([[30.0, 15.0]]))
    assert shares.tolist() == [[0.5, 0.25]]
    torch.manual_seed(0)
    _, swapped = P.RandomHorizontalFlip(1.0, swap=[1, 0])(image, torch.tensor([[9.0, 1], [50, 2]]))
    assert swapped.tolist() == [[9.0, 2.0], [50.0, 1.0]]
