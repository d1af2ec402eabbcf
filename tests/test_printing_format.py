"""Texts of tensors: `suiren.printing` against PyTorch's own `repr`.

Oracles: PyTorch 2.13 where it is installed (several hundred random tensors with a fixed seed), and
texts recorded from it in recorded/printing.json, which need no PyTorch. NumPy arrays go straight to
`tensor_text`, so nothing else of the package is tested here.

Run this file as a script, with PyTorch installed, to record the texts anew.
"""

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from suiren import printing

RECORDED = Path(__file__).parent / "recorded" / "printing.json"
FLOATS = ["float16", "bfloat16", "float32", "float64"]
COMPLEXES = ["complex64", "complex128"]
WHOLES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES = FLOATS + COMPLEXES + WHOLES
CASES_PER_DTYPE = 40


# --- cases ------------------------------------------------------------------------------------
# A case is a dictionary that JSON can hold: dtype, shape, values (numbers as text, so that nan, inf
# and -0.0 survive; or one text "arange"), and optionally options, default, requires_grad, grad_fn,
# class_name, device.


def case_array(case):
    """The NumPy array of a case; bfloat16 falls back to float32 where ml_dtypes is missing."""
    name, shape, values = case["dtype"], case["shape"], case["values"]
    if values == "arange":
        return np.arange(math.prod(shape)).astype(name).reshape(shape)
    if name == "bfloat16":
        wide = np.array([float(v) for v in values], dtype=np.float32).reshape(shape)
        try:
            import ml_dtypes
        except ImportError:
            return wide
        return wide.astype(ml_dtypes.bfloat16)
    if name in COMPLEXES:
        array = np.empty(len(values), dtype=name)  # by parts: complex("nan+infj") loses signs
        array.real = [float(v.split()[0]) for v in values]
        array.imag = [float(v.split()[1]) for v in values]
        return array.reshape(shape)
    number = float if name in FLOATS else int
    with np.errstate(over="ignore"):
        return np.array([number(v) for v in values], dtype=name).reshape(shape)


def our_text(case):
    with printing.printoptions():
        printing.set_printoptions(profile="default")
        printing.set_printoptions(**case.get("options", {}))
        device = case.get("device", "cpu")
        return printing.tensor_text(
            None if device == "meta" else case_array(case),
            dtype_name=case["dtype"],
            shape=case["shape"],
            requires_grad=case.get("requires_grad", False),
            grad_fn_name=case.get("grad_fn"),
            default_dtype_name=case.get("default", "float32"),
            class_name=case.get("class_name", "tensor"),
            device=device,
        )


def torch_text(torch, case):
    array = case_array(case)
    if case["dtype"] == "bfloat16":
        tensor = torch.from_numpy(array.astype(np.float32)).bfloat16()
    else:
        tensor = torch.from_numpy(array.copy())
    tensor = tensor.to(case.get("device", "cpu"))
    if case.get("requires_grad"):
        tensor.requires_grad_()
    if case.get("grad_fn"):
        tensor = {"CloneBackward0": torch.clone, "ViewBackward0": lambda t: t.view(t.shape)}[
            case["grad_fn"]
        ](tensor)
    if "class_name" in case:
        tensor = tensor.as_subclass(type(case["class_name"], (torch.Tensor,), {}))
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(getattr(torch, case.get("default", "float32")))
        torch.set_printoptions(profile="default")
        torch.set_printoptions(**case.get("options", {}))
        return repr(tensor)
    finally:
        torch.set_printoptions(profile="default")
        torch.set_default_dtype(default)


def random_reals(count, rng, choose):
    """Floats of a kind that `choose` picks: small, huge, whole, mixed magnitudes, at a limit."""
    kind = choose.randrange(8)
    if kind == 0:
        values = rng.standard_normal(count)
    elif kind == 1:
        values = np.round(rng.standard_normal(count) * 10 ** choose.uniform(0, 10))
    elif kind == 2:
        values = rng.standard_normal(count) * 10.0 ** rng.uniform(-6, 6, count)
    elif kind == 3:
        values = rng.integers(-5, 5, count).astype(float)
    elif kind == 4:
        values = rng.standard_normal(count) * 10 ** choose.uniform(-300, 300)
    elif kind == 5:  # where notation or the number of digits changes
        limits = [1e-4, 0.99999e-4, 0.1, 1.0, 1000.0, 1001.0, 1e8, 1.00000001e8, 0.99995, 9.99995]
        values = rng.choice(limits, count)
    elif kind == 6:
        values = np.zeros(count)
    else:
        values = rng.random(count) * choose.choice([1, 10, 100, 999.99996, 1000])
    if choose.random() < 0.3:
        special = rng.choice([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0], count)
        values = np.where(rng.random(count) < choose.random(), special, values)
    return values


def random_values(name, count, rng, choose):
    if name == "bool":
        return [str(int(v)) for v in rng.random(count) < choose.choice([0, 0.5, 1])]
    if name in WHOLES:
        info = np.iinfo(name)
        bound = choose.choice([1, 10, 1000, 10**6, info.max])
        low = max(info.min, -bound * choose.choice([0, 1]))
        high = min(info.max, bound)
        return [str(v) for v in rng.integers(low, high, count, dtype=name, endpoint=True)]
    with np.errstate(over="ignore"):
        if name in COMPLEXES:
            part = "float32" if name == "complex64" else "float64"
            real = random_reals(count, rng, choose).astype(part).tolist()
            imag = random_reals(count, rng, choose).astype(part).tolist()
            return [f"{a!r} {b!r}" for a, b in zip(real, imag, strict=True)]
        values = random_reals(count, rng, choose)
        if name == "bfloat16":  # cut the mantissa, so that every value is a bfloat16 exactly
            bits = values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
            return [repr(v) for v in bits.view(np.float32).tolist()]
        return [repr(v) for v in values.astype(name).tolist()]


def random_shape(choose):
    dims = choose.choice([0, 1, 1, 2, 2, 3, 4])
    if dims == 1:
        return [choose.choice([0, 1, 2, 5, 9, 17, 40])]
    sizes = [1, 2, 3, 7] if dims < 4 else [1, 2]
    return [0 if choose.random() < 0.04 else choose.choice(sizes) for _ in range(dims)]


def random_case(name, rng, choose):
    shape = random_shape(choose)
    case = {
        "dtype": name,
        "shape": shape,
        "values": random_values(name, math.prod(shape), rng, choose),
    }
    options = {}
    if choose.random() < 0.5:
        options = {
            "precision": choose.choice([None, 0, 1, 2, 6, 10]),
            "threshold": choose.choice([None, None, 0, 5, 20]),
            "edgeitems": choose.choice([None, None, 0, 1, 2]),
            "linewidth": choose.choice([None, None, 1, 20, 50, 79, 120]),
            "sci_mode": choose.choice([None, None, True, False]),
            "profile": choose.choice([None, None, "full", "short"]),
        }
    case["options"] = {key: value for key, value in options.items() if value is not None}
    if choose.random() < 0.2:
        case["default"] = choose.choice(["float64", "float16", "bfloat16"])
    if name not in WHOLES and choose.random() < 0.4:
        case["requires_grad"] = True
        if choose.random() < 0.5:
            case["grad_fn"] = choose.choice(["CloneBackward0", "ViewBackward0"])
    if choose.random() < 0.05:
        case["device"] = "meta"
    elif "grad_fn" not in case and choose.random() < 0.08:
        case["class_name"] = choose.choice(["Image", "TensorWithALongName"])
        case.pop("requires_grad", None)  # as_subclass would record a node of its own
    return case


def random_cases(name, seed, count):
    rng = np.random.default_rng([seed, DTYPES.index(name)])
    choose = random.Random(seed * 100 + DTYPES.index(name))
    return [random_case(name, rng, choose) for _ in range(count)]


def chosen_cases():
    """Cases picked by hand: what people print most, and summaries of large tensors."""

    def case(name, shape, values, **fields):
        return {"dtype": name, "shape": shape, "values": values, **fields}

    large = [
        case("int64", [1000], "arange", options={"linewidth": 200}),
        case("int64", [1001], "arange"),
        case("float32", [100, 100], "arange"),
        case("float32", [7, 2, 200], "arange", requires_grad=True),
        case("float64", [8, 7, 6, 7], "arange", options={"edgeitems": 1}),
        case("complex64", [2000], "arange"),
    ]
    small = [
        case("float32", [], ["1"]),
        case("float32", [3], ["1", "2", "3"]),
        case("float32", [2], ["1", "2000"]),
        case("float32", [2], ["1e-5", "1"]),
        case("float32", [1], ["1e8"]),
        case("float32", [1], ["1.1e8"]),
        case("float32", [3], ["nan", "inf", "-inf"]),
        case("float32", [3], ["0.5", "-0.0", "nan"]),
        case("float32", [2], ["0", "0"], options={"sci_mode": True}),
        case("float32", [0], []),
        case("float32", [0, 3], []),
        case("int64", [2, 0], []),
        case("float32", [2, 3], ["0"] * 6, device="meta"),
        case("float64", [0, 3], [], device="meta", requires_grad=True),
        # 80 columns on one line, yet PyTorch moves the suffix to a new one
        case("bfloat16", [2], ["295698432", "482344960"], grad_fn="CloneBackward0",
             requires_grad=True),
        case("complex64", [2], ["1 2", "nan -inf"]),
        case("complex64", [1], ["1 0"], default="float16"),
        case("complex128", [1], ["1 0"], default="float64"),
        case("bool", [2], ["1", "0"]),
        case("uint64", [1], [str(2**64 - 1)]),
    ]
    return large + small


# --- against PyTorch --------------------------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
def test_same_text_as_torch(name):
    torch = pytest.importorskip("torch")
    for case in random_cases(name, seed=13, count=CASES_PER_DTYPE):
        assert our_text(case) == torch_text(torch, case), case


def test_chosen_cases_same_text_as_torch():
    torch = pytest.importorskip("torch")
    for case in chosen_cases():
        assert our_text(case) == torch_text(torch, case), case


def test_parameter_text_same_as_torch():
    torch = pytest.importorskip("torch")

    class Image(torch.Tensor):
        pass

    array = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    for class_name, base in (("tensor", torch.Tensor), ("Image", Image)):
        for requires_grad in (True, False):
            tensor = torch.from_numpy(array.copy()).as_subclass(base)
            parameter = torch.nn.Parameter(tensor, requires_grad=requires_grad)
            text = printing.tensor_text(
                array, dtype_name="float32", requires_grad=requires_grad, class_name=class_name
            )
            assert printing.parameter_text(text, class_name) == repr(parameter)


def test_options_same_as_torch():
    torch = pytest.importorskip("torch")
    settings = [
        {"precision": 2},
        {"sci_mode": True, "linewidth": 100},
        {"precision": 3},  # sci_mode falls back to None
        {"profile": "FULL", "edgeitems": 5},  # not a profile: names are in small letters
        {"profile": "full", "edgeitems": 5},
        {"profile": "short", "sci_mode": False},
        {"profile": "default"},
    ]
    try:
        for setting in settings:
            printing.set_printoptions(**setting)
            torch.set_printoptions(**setting)
            assert printing.get_printoptions() == torch._tensor_str.get_printoptions()
    finally:
        printing.set_printoptions(profile="default")
        torch.set_printoptions(profile="default")


# --- without PyTorch --------------------------------------------------------------------------


def recorded_cases():
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def test_record_is_large_enough():
    assert len(recorded_cases()) >= 100


@pytest.mark.parametrize("name", DTYPES)
def test_same_text_as_recorded(name):
    cases = [case for case in recorded_cases() if case["dtype"] == name]
    assert cases
    for case in cases:
        assert our_text(case) == case["text"], case


def test_a_summary_reads_only_the_edges():
    # 10**12 elements, 4 TB if anything made an array of them
    array = np.broadcast_to(np.float32(1.5), (10**6, 10**6))
    text = printing.tensor_text(array, dtype_name="float32")
    row = "[1.5000, 1.5000, 1.5000,  ..., 1.5000, 1.5000, 1.5000]"
    rows = [row, row, row, "...", row, row, row]
    assert text == "tensor([" + ",\n        ".join(rows) + "])"


def test_a_summary_is_formatted_by_what_it_shows():
    array = np.ones(2000, dtype=np.float32)
    array[1000] = 1.0e20
    text = printing.tensor_text(array, dtype_name="float32")
    assert text == "tensor([1., 1., 1.,  ..., 1., 1., 1.])"


def test_strides_do_not_matter():
    array = np.arange(24).reshape(2, 3, 4)[:, ::-1].transpose(2, 0, 1)
    copy = np.ascontiguousarray(array)
    for threshold in (1000, 5):
        with printing.printoptions(threshold=threshold, edgeitems=1):
            assert printing.tensor_text(array, dtype_name="int64") == printing.tensor_text(
                copy, dtype_name="int64"
            )


def test_other_devices_are_shown():
    text = printing.tensor_text(np.ones(2, dtype=np.float32), dtype_name="float32", device="cuda:0")
    assert text == "tensor([1., 1.], device='cuda:0')"


def test_infinite_line_width():
    with printing.printoptions(linewidth=math.inf, threshold=5):
        text = printing.tensor_text(np.arange(100), dtype_name="int64")
    assert text == "tensor([ 0,  1,  2,  ..., 97, 98, 99])"


def test_printoptions_restores_after_an_exception():
    before = printing.get_printoptions()
    with pytest.raises(KeyError), printing.printoptions(precision=1, sci_mode=True):
        assert printing.get_printoptions()["precision"] == 1
        raise KeyError
    assert printing.get_printoptions() == before


def test_printoptions_keeps_settings_when_refused():
    before = printing.get_printoptions()
    with pytest.raises(ValueError, match="precision"), printing.printoptions(precision=-1):
        pass
    assert printing.get_printoptions() == before


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ({"precision": "a"}, ValueError),
        ({"precision": 2.0}, ValueError),
        ({"edgeitems": 1.5}, TypeError),
        ({"edgeitems": -1}, ValueError),
        ({"threshold": "a"}, TypeError),
        ({"linewidth": "a"}, TypeError),
    ],
)
def test_impossible_options_are_refused(setting, error):
    with pytest.raises(error, match=next(iter(setting))):
        printing.set_printoptions(**setting)


def test_unknown_dtype_is_refused():
    with pytest.raises(NotImplementedError, match="float8_e5m2"):
        printing.tensor_text(np.ones(2), dtype_name="float8_e5m2")


def test_no_values_need_a_shape_and_the_meta_device():
    with pytest.raises(ValueError, match="shape"):
        printing.tensor_text(None, dtype_name="float32", device="meta")
    with pytest.raises(ValueError, match="meta"):
        printing.tensor_text(None, dtype_name="float32", shape=(2,))


def test_size_text():
    assert printing.size_text(()) == "torch.Size([])"
    assert printing.size_text((2, 3)) == "torch.Size([2, 3])"


# --- recording --------------------------------------------------------------------------------


def record():
    import torch

    cases = chosen_cases()
    for name in DTYPES:
        cases += random_cases(name, seed=7, count=10)
    lines = [json.dumps({**case, "text": torch_text(torch, case)}) for case in cases]
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(record())
