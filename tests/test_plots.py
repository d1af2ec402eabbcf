"""`suiren.vision.plots` and `show`: what is drawn, which fonts, what is refused."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

import suiren as torch
from suiren import nn
from suiren.vision import models, plots, show


def drawn(figure) -> tuple[int, int]:
    """Size of the picture that the figure becomes, without a warning (they are errors here)."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=50)
    with Image.open(content) as picture:
        return picture.size


def test_activations_come_with_their_derivatives():
    figure = plots.activations({"双曲正切": torch.tanh, "relu": nn.ReLU()}, low=-2, high=2)
    first = figure.axes[0]
    x, slope = first.lines[-1].get_data()
    np.testing.assert_allclose(slope, 1 - np.tanh(x) ** 2, atol=1e-5)
    assert first.get_title("left") == "双曲正切"
    assert len(plots.activations().axes) == 6
    assert len(plots.activations([torch.sigmoid], derivatives=False).axes[0].lines) == 3
    assert min(drawn(plots.activations())) > 100


def test_curves_take_lists_and_tensors_of_any_length():
    figure = plots.curves({"train": [3.0, 2, 1], "test": torch.tensor([3.0, 2.5])}, title="loss")
    lines = figure.axes[0].lines
    assert [len(line.get_xdata()) for line in lines] == [3, 2]
    assert lines[1].get_xdata().tolist() == [1, 2]
    figure = plots.curves({"a": [1, 10, 100]}, x=[0, 5, 10], log=True)
    assert figure.axes[0].get_yscale() == "log"
    drawn(figure)


def test_curves_go_into_given_axes():
    from matplotlib.figure import Figure

    figure = Figure()
    ax = figure.subplots()
    assert plots.curves({"a": [1, 2]}, ax=ax) is figure


def test_filters_in_colour_and_by_sign():
    figure = plots.filters(torch.randn(10, 3, 5, 5), columns=4)
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 10 and shown[0].images[0].get_array().shape == (5, 5, 3)
    figure = plots.filters(models.CNN4(1, 8, 2))
    image = figure.axes[0].images[0]
    assert image.norm.vmin == -image.norm.vmax
    drawn(figure)
    with pytest.raises(ValueError, match="MLP without any Conv2d"):
        plots.filters(models.MLP(1, 8, 2))
    with pytest.raises(ValueError, match=r"needs weights \(F, C, h, w\), got shape \(3, 3\)"):
        plots.filters(torch.zeros(3, 3))


def test_feature_maps_leave_the_model_as_it_was():
    model = models.CNN4(1, 16, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    figure = plots.feature_maps(model, torch.rand(1, 16, 16), most=4, columns=4)
    assert sum(bool(ax.images) for ax in figure.axes) == 16
    assert model.training and not model.features[0]._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    figure = plots.feature_maps(model, torch.rand(1, 1, 16, 16), ["features.2"])
    assert figure.axes[0].get_title("left") == "features.2  16x16x16"
    with pytest.raises(ValueError, match="the model has no module 'features.99'"):
        plots.feature_maps(model, torch.rand(1, 16, 16), ["features.99"])
    with pytest.raises(ValueError, match="no layer that gives"):
        plots.feature_maps(model, torch.rand(1, 16, 16), ["classifier.0"])


def test_decision_regions_follow_the_classifier():
    points = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [1.0, -0.5]])

    def by_sign(where):  # class 1 on the right, one logit
        return 10 * where[:, :1]

    figure = plots.decision_regions(by_sign, points, [0, 1, 1], ["左", "右"], steps=20)
    picture = figure.axes[0].images[0].get_array()  # 20, 20, 3
    left, right = picture[10, 1], picture[10, -2]
    assert left[2] > left[0] and right[0] > right[2]  # blue and red
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["左", "右"]
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    drawn(plots.decision_regions(model, points, [0, 1, 2], steps=10))
    assert model.training
    with pytest.raises(ValueError, match=r"needs points \(N, 2\), got shape \(3, 3\)"):
        plots.decision_regions(by_sign, torch.zeros(3, 3), [0, 0, 0])


def test_confusion_matrix_counts():
    figure = plots.confusion_matrix([0, 0, 1, 2], torch.tensor([0, 1, 1, 2]), ["猫", "狗", "鸟"])
    texts = {t.get_position(): t.get_text() for t in figure.axes[0].texts}
    assert texts == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (2, 2): "1"}
    assert figure.axes[0].get_title("left") == "75.00%"
    drawn(figure)


def test_images_and_keypoints():
    figure = plots.images(torch.rand(5, 3, 4, 4), titles=["一", "二"], columns=3)
    assert sum(bool(ax.images) for ax in figure.axes) == 5
    drawn(figure)
    figure = plots.images([np.full((4, 4), 200, np.uint8), torch.randn(1, 4, 4)])
    assert float(figure.axes[0].images[0].get_array().max()) == pytest.approx(200 / 255)
    points = torch.tensor([[[1.0, 2.0], [float("nan"), 0.0]]])
    figure = plots.keypoints(torch.rand(1, 1, 8, 8), points, points + 1, labels=("真实", "预测"))
    true, predicted = figure.axes[0].collections
    assert true.get_offsets()[0].tolist() == [1, 2]
    assert predicted.get_offsets()[0].tolist() == [2, 3]
    drawn(figure)


def test_no_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "suiren\[plots\]"'):
        plots.curves({"a": [1]})
    with pytest.raises(ImportError, match="needs matplotlib"):
        plots.images(torch.rand(1, 4, 4))


def test_fonts_for_chinese_are_named_when_there_are_any():
    families = plots.font_families()
    assert families[0] == "DejaVu Sans"
    assert (plots.font_file() is None) == (len(families) == 1)


def test_show_makes_a_picture_of_a_tensor():
    picture = show(torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8))
    assert picture.size == (160, 160) and picture.mode in ("L", "RGB")
    assert picture.getpixel((10, 10)) in (0, (0, 0, 0))
    assert picture.getpixel((150, 10)) in (255, (255, 255, 255))
    assert show(torch.rand(3, 200, 300)).size == (300, 200)
    assert show(torch.randn(5, 1, 28, 28), columns=5).width >= 160
    stretched = show(torch.tensor([[[-1.0, 3.0]]]))
    assert stretched.getpixel((0, 0)) == 0 and stretched.getpixel((159, 0)) == 255
    with pytest.raises(TypeError, match="takes a tensor, got list"):
        show([1])
    with pytest.raises(ValueError, match=r"got shape \(5, 4, 4\)"):
        show(torch.rand(5, 4, 4))
