"""suiren.vision.ops, utils and io: against hand-computed values, plain loops and Pillow."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

import suiren as torch
from suiren import nn
from suiren.vision import io as image_files
from suiren.vision import ops, utils


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


def random_boxes(count, generator, size=20.0):
    corners = torch.rand(count, 4, generator=generator) * size
    low, high = (
        torch.minimum(corners[:, :2], corners[:, 2:]),
        torch.maximum(corners[:, :2], corners[:, 2:]),
    )
    return torch.cat([low, high], 1)


# ---- boxes


def plain_iou(first, second):
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(wide, 0) * max(high, 0)
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(area) - shared)


def test_iou_against_a_plain_loop(generator):
    first, second = random_boxes(6, generator), random_boxes(5, generator)
    found = ops.box_iou(first, second)
    for i, j in itertools.product(range(6), range(5)):
        expected = plain_iou(first[i].tolist(), second[j].tolist())
        assert abs(found[i, j].item() - expected) < 1e-5
    assert np.allclose(ops.box_iou(first, first).diagonal().numpy(), 1.0)
    general = ops.generalized_box_iou(first, second)
    assert (general <= found + 1e-6).all() and (general >= -1).all()
    assert (ops.distance_box_iou(first, second) <= found + 1e-6).all()


def test_generalized_iou_by_hand():
    first, second = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[3.0, 0.0, 4.0, 2.0]])
    # Around both: 4 x 2, of which 6 are covered.
    assert abs(ops.generalized_box_iou(first, second).item() + 2 / 8) < 1e-6
    # Middles (1, 1) and (3.5, 1); diagonal of the box around both: 4^2 + 2^2.
    assert abs(ops.distance_box_iou(first, second).item() + 2.5**2 / 20) < 1e-6


def test_box_areas_do_not_overflow_small_types():
    assert ops.box_area(torch.tensor([[0, 0, 100, 100]], dtype=torch.uint8)).item() == 10000


def test_nms_against_a_plain_loop(generator):
    boxes, scores = random_boxes(40, generator), torch.rand(40, generator=generator)
    for threshold in (0.1, 0.3, 0.7):
        order = sorted(range(40), key=lambda i: -scores[i].item())
        kept = []
        for i in order:
            if all(plain_iou(boxes[i].tolist(), boxes[j].tolist()) <= threshold for j in kept):
                kept.append(i)
        assert ops.nms(boxes, scores, threshold).tolist() == kept
    classes = torch.arange(40) % 3
    found = ops.batched_nms(boxes, scores, classes, 0.3).tolist()
    single = [
        members[ops.nms(boxes[members], scores[members], 0.3)].tolist()
        for members in (torch.where(classes == number)[0] for number in range(3))
    ]
    assert sorted(found) == sorted(itertools.chain(*single))
    assert found == sorted(found, key=lambda i: -scores[i].item())
    assert ops.nms(boxes[:0], scores[:0], 0.5).shape == (0,)
    with pytest.raises(RuntimeError, match="scores"):
        ops.nms(boxes, scores[:3], 0.5)


def test_box_formats_go_round(generator):
    boxes = random_boxes(5, generator)
    formats = ("xyxy", "xywh", "cxcywh")
    for there, back in itertools.product(formats, formats):
        moved = ops.box_convert(ops.box_convert(boxes, "xyxy", there), there, back)
        assert np.allclose(ops.box_convert(moved, back, "xyxy").numpy(), boxes.numpy(), atol=1e-5)
    assert ops.box_convert(torch.tensor([1, 2, 4, 6]), "xyxy", "xywh").tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="Unsupported"):
        ops.box_convert(boxes, "xyxy", "yxyx")


def test_clipping_small_boxes_and_masks():
    boxes = torch.tensor([[-3.0, 2.0, 9.0, 30.0], [1.0, 1.0, 1.5, 8.0]])
    clipped = ops.clip_boxes_to_image(boxes, (20, 8))
    assert clipped.tolist() == [[0.0, 2.0, 8.0, 20.0], [1.0, 1.0, 1.5, 8.0]]
    assert ops.remove_small_boxes(boxes, 1.0).tolist() == [0]
    masks = torch.zeros(2, 6, 7)
    masks[0, 2:4, 1:6] = 1
    masks[1, 5, 6] = 1
    assert ops.masks_to_boxes(masks).tolist() == [[1, 2, 5, 3], [6, 5, 6, 5]]


# ---- regions


def plain_roi_align(image, box, size, ratio, aligned):
    """The definition: means of bilinearly interpolated points."""
    high, wide = image.shape
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (corner - shift for corner in box)
    spans = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1.0), max(y2 - y1, 1.0))
    cell_x, cell_y = spans[0] / size[1], spans[1] / size[0]
    count_x = ratio if ratio > 0 else max(int(np.ceil(cell_x)), 1)
    count_y = ratio if ratio > 0 else max(int(np.ceil(cell_y)), 1)
    found = np.zeros(size)
    for i, j in itertools.product(*map(range, size)):
        for a, b in itertools.product(range(count_y), range(count_x)):
            y = y1 + (i + (a + 0.5) / count_y) * cell_y
            x = x1 + (j + (b + 0.5) / count_x) * cell_x
            if y < -1 or y > high or x < -1 or x > wide:
                continue
            y, x = min(max(y, 0), high - 1), min(max(x, 0), wide - 1)
            y0, x0 = int(y), int(x)
            y_next, x_next = min(y0 + 1, high - 1), min(x0 + 1, wide - 1)
            v, u = y - y0, x - x0
            found[i, j] += (
                (1 - v) * ((1 - u) * image[y0, x0] + u * image[y0, x_next])
                + v * ((1 - u) * image[y_next, x0] + u * image[y_next, x_next])
            ) / (count_x * count_y)
    return found


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 2])
def test_roi_align_against_its_definition(aligned, ratio, generator):
    maps = torch.rand(2, 3, 9, 12, generator=generator, dtype=torch.float64)
    boxes = [
        torch.tensor([[1.0, 2.0, 8.5, 7.0], [0.2, 0.1, 0.6, 0.7], [-4.0, 5.0, 30.0, 40.0]]),
        torch.tensor([[3.3, 1.0, 11.0, 8.9]]),
    ]
    found = ops.roi_align(maps, boxes, (3, 4), 0.9, ratio, aligned)
    assert found.shape == (4, 3, 3, 4)
    row = 0
    for number, group in enumerate(boxes):
        for box in group:
            scaled = [corner * 0.9 for corner in box.double().tolist()]
            for channel in range(3):
                image = maps[number, channel].numpy()
                expected = plain_roi_align(image, scaled, (3, 4), ratio, aligned)
                assert np.allclose(found[row, channel].numpy(), expected, atol=1e-9)
            row += 1


def test_roi_align_has_gradients_and_takes_both_kinds_of_boxes(generator):
    maps = torch.rand(1, 1, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0.0, 0.5, 0.5, 4.0, 3.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ops.roi_align(x, rois, 2, aligned=True), (maps,))
    module = ops.RoIAlign(2, 1.0, -1, aligned=True)
    assert torch.equal(module(maps, [rois[:, 1:]]), module(maps, rois))
    assert ops.roi_align(maps, rois[:0], 2).shape == (0, 1, 2, 2)
    with pytest.raises(ValueError, match="number of the image"):
        ops.roi_align(maps, rois[:, 1:], 2)


def test_roi_pool_by_hand():
    maps = torch.arange(36.0).reshape(1, 1, 6, 6)
    found = ops.roi_pool(maps, torch.tensor([[0.0, 1.0, 1.0, 4.0, 4.0]]), 2)
    assert found.tolist() == [[[[14.0, 16.0], [26.0, 28.0]]]]
    outside = ops.roi_pool(maps, torch.tensor([[0.0, 20.0, 20.0, 24.0, 24.0]]), 1)
    assert outside.item() == 0.0


# ---- losses and layers


def test_focal_loss_by_hand():
    logits, truth = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 1.0, 0.0])
    p = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    right = np.where(truth.numpy() == 1, p, 1 - p)
    weight = np.where(truth.numpy() == 1, 0.25, 0.75)
    expected = weight * (1 - right) ** 2 * -np.log(right)
    assert np.allclose(ops.sigmoid_focal_loss(logits, truth).numpy(), expected, atol=1e-6)
    mean = ops.sigmoid_focal_loss(logits, truth, alpha=-1, gamma=0, reduction="mean")
    assert abs(mean.item() - -np.log(right).mean()) < 1e-6


def test_stochastic_depth_keeps_the_mean_and_drops_whole_rows():
    torch.manual_seed(0)
    found = ops.StochasticDepth(0.4, "row")(torch.ones(2000, 3))
    assert set(found.unique().tolist()) == {0.0, float(np.float32(1) / np.float32(0.6))}
    assert (found == found[:, :1]).all() and abs(found.mean().item() - 1) < 0.05
    batch = ops.stochastic_depth(torch.ones(50, 2), 0.5, "batch")
    assert batch.unique().numel() == 1
    assert repr(ops.StochasticDepth(0.2, "row")) == "StochasticDepth(p=0.2, mode=row)"
    with pytest.raises(ValueError):
        ops.stochastic_depth(batch, 0.5, "column")


def test_drop_block_zeroes_squares_and_scales_the_rest():
    torch.manual_seed(1)
    found = ops.DropBlock2d(0.2, 3)(torch.ones(4, 2, 12, 12))
    kept = found != 0
    assert 0.05 < 1 - kept.float().mean().item() < 0.4
    assert abs(found.mean().item() - 1) < 1e-4
    assert ops.DropBlock2d(0.2, 4)(torch.ones(2, 2, 9, 9)).shape == (2, 2, 9, 9)
    assert torch.equal(ops.DropBlock2d(0.2, 3).eval()(found), found)


def test_blocks_have_torchvisions_names_and_shapes():
    block = ops.Conv2dNormActivation(3, 8, kernel_size=5, stride=2, dilation=2)
    assert list(block.state_dict())[:2] == ["0.weight", "1.weight"] and block[0].bias is None
    assert block(torch.zeros(2, 3, 9, 9)).shape == (2, 8, 5, 5)
    assert ops.Conv2dNormActivation(3, 8, norm_layer=None)[0].bias is not None
    assert ops.Conv3dNormActivation(1, 2)(torch.zeros(1, 1, 4, 4, 4)).shape == (1, 2, 4, 4, 4)
    excite = ops.SqueezeExcitation(8, 2)
    assert set(excite.state_dict()) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    mlp = ops.MLP(4, [8, 2], norm_layer=nn.LayerNorm)
    assert [type(layer).__name__ for layer in mlp] == [
        "Linear", "LayerNorm", "ReLU", "Dropout", "Linear", "Dropout"
    ]  # fmt: skip


def test_a_frozen_batch_norm_takes_a_batch_norms_state(generator):
    live = nn.BatchNorm2d(3)
    live(torch.rand(4, 3, 5, 5, generator=generator))
    frozen = ops.FrozenBatchNorm2d(3)
    frozen.load_state_dict(live.state_dict())
    images = torch.rand(2, 3, 5, 5, generator=generator)
    assert np.allclose(frozen(images).numpy(), live.eval()(images).detach().numpy(), atol=1e-6)
    assert list(frozen.parameters()) == []


# ---- grids and drawings


def test_a_grid_by_hand():
    images = torch.arange(1.0, 4.0).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    grid = utils.make_grid(images, nrow=2, padding=1, pad_value=9.0)
    assert grid.shape == (3, 7, 7)
    assert grid[0].tolist() == [
        [9, 9, 9, 9, 9, 9, 9],
        [9, 1, 1, 9, 2, 2, 9],
        [9, 1, 1, 9, 2, 2, 9],
        [9, 9, 9, 9, 9, 9, 9],
        [9, 3, 3, 9, 9, 9, 9],
        [9, 3, 3, 9, 9, 9, 9],
        [9, 9, 9, 9, 9, 9, 9],
    ]
    scaled = utils.make_grid(images, normalize=True, padding=0)
    assert scaled[0, 0].tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    each = utils.make_grid(
        torch.tensor([[[[0.0, 4.0]]], [[[0.0, 8.0]]]]), normalize=True, scale_each=True, padding=0
    )
    assert each[0].tolist() == [[0.0, 1.0, 0.0, 1.0]]
    assert utils.make_grid([torch.zeros(3, 4, 4)]).shape == (3, 4, 4)
    assert utils.make_grid(torch.zeros(4, 5)).shape == (3, 4, 5)
    with pytest.raises(TypeError, match="list of tensors"):
        utils.make_grid("images")


def test_an_image_is_saved_with_rounded_levels(tmp_path):
    levels = torch.tensor([[[0.0, 0.5, 1.0, 2.0, 100.4 / 255]]])
    utils.save_image(levels, tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 128, 255, 255, 100]
    stream = io.BytesIO()
    utils.save_image([levels, levels], stream, format="png", padding=0)
    assert Image.open(stream).size == (10, 1)


def test_boxes_points_and_masks_are_drawn():
    image = torch.zeros(3, 30, 40, dtype=torch.uint8)
    boxed = utils.draw_bounding_boxes(image, torch.tensor([[5, 6, 20, 16]]), colors="red")
    assert boxed[:, 6, 5].tolist() == [255, 0, 0] and boxed[:, 16, 20].tolist() == [255, 0, 0]
    assert boxed[:, 10, 10].tolist() == [0, 0, 0] and not image.any()
    filled = utils.draw_bounding_boxes(
        image, torch.tensor([[5, 6, 20, 16]]), labels=["x"], colors=[(0, 255, 0)], fill=True
    )
    assert filled[:, 15, 18].tolist() == [0, 100, 0]
    dotted = utils.draw_keypoints(image, torch.tensor([[[10.0, 10.0], [30.0, 10.0]]]), [(0, 1)])
    assert dotted[:, 10, 20].tolist() == [255, 0, 0] and not dotted[1:].any()
    hidden = utils.draw_keypoints(
        image, torch.tensor([[[10.0, 10.0]]]), visibility=torch.tensor([[False]])
    )
    assert not hidden.any()
    mask = torch.zeros(30, 40, dtype=torch.bool)
    mask[:5] = True
    masked = utils.draw_segmentation_masks(image + 100, mask, alpha=0.5, colors=(200, 0, 50))
    assert masked[:, 0, 0].tolist() == [150, 50, 75] and masked[:, 9, 0].tolist() == [100] * 3
    floats = utils.draw_bounding_boxes(
        image.float(), torch.tensor([[5, 6, 20, 16]]), colors="white"
    )
    assert floats.dtype is torch.float32 and floats.max().item() == 1.0
    with pytest.raises(ValueError, match="xmin"):
        utils.draw_bounding_boxes(image, torch.tensor([[20, 6, 5, 16]]))
    with pytest.raises(ValueError, match="dtype bool"):
        utils.draw_segmentation_masks(image, mask.float())


# ---- files


def test_images_are_written_and_read(tmp_path, generator):
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8, generator=generator)
    image_files.write_png(image, tmp_path / "a.png")
    assert torch.equal(image_files.read_image(tmp_path / "a.png"), image)
    assert torch.equal(image_files.decode_png(image_files.encode_png(image, 0)), image)
    smooth = torch.full((3, 16, 16), 77, dtype=torch.uint8)
    image_files.write_jpeg(smooth, tmp_path / "a.jpg", quality=95)
    assert (image_files.read_image(tmp_path / "a.jpg").int() - 77).abs().max().item() <= 2
    gray = image_files.read_image(tmp_path / "a.png", image_files.ImageReadMode.GRAY)
    assert np.array_equal(gray[0].numpy(), np.asarray(Image.open(tmp_path / "a.png").convert("L")))
    assert image_files.read_image(tmp_path / "a.png", "RGBA").shape == (4, 5, 7)
    deep = np.array([[0, 60000]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert image_files.read_image(tmp_path / "deep.png").tolist() == [[[0, 60000]]]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    assert image_files.read_image(tmp_path / "bits.png").tolist() == [[[255, 0]]]


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(RuntimeError, match="no image"):
        image_files.read_image(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        image_files.read_image(tmp_path / "b.png")
    with pytest.raises(RuntimeError, match="uint8"):
        image_files.encode_png(torch.zeros(3, 2, 2))
    with pytest.raises(RuntimeError, match="Compression"):
        image_files.encode_png(torch.zeros(3, 2, 2, dtype=torch.uint8), 10)
    png = image_files.encode_png(torch.zeros(3, 40, 40, dtype=torch.uint8), 0)
    with pytest.raises(RuntimeError):
        image_files.decode_image(png[: len(png) // 2])
