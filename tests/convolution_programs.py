"""Random configurations of convolutions, pooling and their kin, held against PyTorch.

A case is a dictionary: what is computed (``kind``), over how many dimensions, from which numbers.
:func:`outcome` gives its results and all gradients in either library; :func:`problems` compares
the compiled program with the interpreter, both with PyTorch, and the bits for 1, 2 and 3 threads.

    python tests/convolution_programs.py 0 1000      cases 0 to 999; prints what is wrong
"""

from __future__ import annotations

import collections
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from compiling import compiling, host_operators, small_tasks  # noqa: E402 (a sibling file)

import suiren  # noqa: E402

TOLERANCE = {"float32": 3e-5, "float64": 1e-11}
Case = dict[str, Any]


def some_case(seed: int) -> Case:
    """The case of this number."""
    rng = random.Random(seed)
    kind = rng.choice(list(KINDS))
    case = {
        "seed": seed,
        "kind": kind,
        "axes": rng.choice([1, 2, 2, 3]),
        "images": rng.choice([1, 2, 2, 3]),
        "dtype": rng.choice(["float32", "float32", "float64"]),
        # what is before it, so that images lie channels-last; and behind it
        "before": rng.choice(["", "", "conv", "relu", "permuted"]),
        "after": rng.choice(["", "", "relu", "residual", "norm"]),
        "batched": rng.random() < 0.9,
    }
    KINDS[kind][0](rng, case)
    return case


def _each(rng: random.Random, case: Case, choices: list) -> tuple:
    return tuple([rng.choice(choices) for _ in range(case["axes"])])


def _sizes(rng: random.Random, case: Case, spans: tuple | None = None) -> None:
    most = {1: 40, 2: 13, 3: 6}[case["axes"]]
    spans = spans or (0,) * case["axes"]
    case["size"] = tuple([rng.randint(1, most) + span for span in spans])


def _channels(rng: random.Random, case: Case) -> None:
    case["channels"] = rng.choice([1, 2, 3, 3, 5, 7, 8, 16, 17, 20])


# ---- convolutions


def _convolution(rng: random.Random, case: Case) -> None:
    groups = case["groups"] = rng.choice([1, 1, 1, 2, 3])
    per = [1, 2, 3, 5, 7, 8, 16, 17, 20, 33] if case["axes"] < 3 else [1, 2, 3, 8, 17]
    case["channels"] = groups * rng.choice(per)
    case["results"] = groups * rng.choice(per)
    if rng.random() < 0.2:  # depthwise, with a multiplier
        case["groups"] = case["channels"] = rng.choice([2, 3, 8, 17, 24])
        case["results"] = case["channels"] * rng.choice([1, 1, 2, 3])
    case["kernel"] = _each(rng, case, [1, 2, 3, 3, 3, 4, 5] if case["axes"] < 3 else [1, 2, 3, 3])
    if rng.random() < 0.3:
        case["kernel"] = (3,) * case["axes"]
    case["stride"] = _each(rng, case, [1, 1, 1, 2, 3] if rng.random() < 0.6 else [1])
    case["dilation"] = _each(rng, case, [1, 1, 2, 3] if rng.random() < 0.4 else [1])
    case["padding"] = _each(rng, case, [0, 1, 1, 2, 3])
    case["bias"] = rng.random() < 0.6
    _sizes(rng, case, _spans(case))


def _spans(case: Case) -> tuple:
    return tuple([d * (k - 1) for d, k in zip(case["dilation"], case["kernel"], strict=True)])


def _conv(rng: random.Random, case: Case) -> None:
    _convolution(rng, case)
    case["mode"] = rng.choice(["zeros", "zeros", "zeros", "reflect", "replicate", "circular"])
    if rng.random() < 0.15 and set(case["stride"]) == {1}:
        case["padding"] = "same"
    elif rng.random() < 0.2:
        case["uneven"] = tuple([rng.randint(0, 2) for _ in range(2 * case["axes"])])


def _apply_conv(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    c, o, g = case["channels"], case["results"], case["groups"]
    axes, functional = case["axes"], torch.nn.functional
    w = own(o, c // g, *case["kernel"])
    b = own(o) if case["bias"] else None
    padding = case["padding"]
    if "uneven" in case:
        x = functional.pad(x, case["uneven"])
    if case["mode"] != "zeros" and padding != "same" and any(padding):
        sides = [n for p in padding[::-1] for n in (p, p)]
        x, padding = functional.pad(x, sides, mode=case["mode"]), 0
    f = getattr(functional, f"conv{axes}d")
    return f(x, w, b, case["stride"], padding, case["dilation"], g)


def _transposed(rng: random.Random, case: Case) -> None:
    _convolution(rng, case)
    most = {1: 12, 2: 8, 3: 4}[case["axes"]]
    case["size"] = tuple([rng.randint(1, most) for _ in case["size"]])
    steps = zip(case["stride"], case["dilation"], strict=True)
    case["more"] = tuple([rng.randint(0, max(pair) - 1) for pair in steps])
    # PyTorch takes a result without places in some of its ways and refuses it in others
    numbers = zip(case["size"], case["stride"], _spans(case), case["padding"], strict=True)
    case["padding"] = tuple([p if (n - 1) * s + span >= 2 * p else 0 for n, s, span, p in numbers])


def _apply_transposed(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    c, o, g = case["channels"], case["results"], case["groups"]
    w = own(c, o // g, *case["kernel"])
    b = own(o) if case["bias"] else None
    f = getattr(torch.nn.functional, f"conv_transpose{case['axes']}d")
    return f(x, w, b, case["stride"], case["padding"], case["more"], g, case["dilation"])


# ---- pooling


def _pooling(rng: random.Random, case: Case) -> None:
    _channels(rng, case)
    case["kernel"] = _each(rng, case, [1, 2, 2, 3, 3, 4, 7] if case["axes"] < 3 else [1, 2, 3])
    if rng.random() < 0.3:
        case["kernel"] = (rng.choice([2, 3]),) * case["axes"]
    case["stride"] = case["kernel"] if rng.random() < 0.4 else _each(rng, case, [1, 1, 2, 3])
    case["padding"] = tuple([rng.randint(0, k // 2) for k in case["kernel"]])
    case["ceil"] = rng.random() < 0.4
    case["include"] = rng.random() < 0.5
    case["divisor"] = rng.choice([None, None, 7])
    case["dilation"] = rng.choice([1, 1, 2])
    case["ties"] = rng.random() < 0.5
    _sizes(rng, case, tuple([(k - 1) * case["dilation"] for k in case["kernel"]]))


def _apply_max(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    f = getattr(torch.nn.functional, f"max_pool{case['axes']}d")
    return f(x, case["kernel"], case["stride"], case["padding"], case["dilation"], case["ceil"],
             return_indices=True)  # fmt: skip


def _apply_max_alone(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    return _apply_max(torch, case, x, own)[0]


def _apply_avg(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    f = getattr(torch.nn.functional, f"avg_pool{case['axes']}d")
    more = (case["include"], case["divisor"])[: 2 if case["axes"] > 1 else 1]
    return f(x, case["kernel"], case["stride"], case["padding"], case["ceil"], *more)


def _apply_lp(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    f = getattr(torch.nn.functional, f"lp_pool{case['axes']}d")
    kernel = case["kernel"][0] if case["axes"] == 1 else case["kernel"]
    return f(x.abs() + 0.5, 2.0, kernel, case["stride"], case["ceil"])


def _adaptive(rng: random.Random, case: Case) -> None:
    _channels(rng, case)
    _sizes(rng, case)
    case["ties"] = rng.random() < 0.5
    case["to"] = tuple(
        [rng.choice([1, 2, 3, n, rng.randint(1, 8)]) for n in case["size"]]
    )


def _apply_adaptive_max(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    f = getattr(torch.nn.functional, f"adaptive_max_pool{case['axes']}d")
    return f(x, case["to"], return_indices=True)


def _apply_adaptive_avg(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    return getattr(torch.nn.functional, f"adaptive_avg_pool{case['axes']}d")(x, case["to"])


def _unpool(rng: random.Random, case: Case) -> None:
    _pooling(rng, case)
    # windows side by side: of places that coincide PyTorch keeps any
    case.update(stride=case["kernel"], padding=(0,) * case["axes"], ceil=False, dilation=1)
    case["size"] = tuple([max(n, k) for n, k in zip(case["size"], case["kernel"], strict=True)])


def _apply_unpool(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    y, places = _apply_max(torch, case, x, own)
    f = getattr(torch.nn.functional, f"max_unpool{case['axes']}d")
    return f(y, places, case["kernel"], case["stride"], output_size=case["size"])


# ---- images resampled and moved


def _resized(rng: random.Random, case: Case) -> None:
    _channels(rng, case)
    _sizes(rng, case)
    case["batched"] = True
    linear = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}[case["axes"]]
    case["mode"] = rng.choice(["nearest", "nearest-exact", *linear, *linear])
    case["scaled"] = rng.random() < 0.5
    factors = [1.0, 2.0, 2.0, 3.0, 0.5, 1.5, 2.7]
    case["factors"] = tuple([
        next(f for f in (rng.choice(factors), 2.0) if int(n * f) > 0) for n in case["size"]
    ])  # fmt: skip
    case["to"] = tuple([rng.randint(1, 2 * n + 2) for n in case["size"]])
    if case["mode"] in ("bilinear", "bicubic"):
        # (with a width of one PyTorch 2.13 repeats the first row)
        case["antialias"] = rng.random() < 0.3 and case["to"][1] > 1 and case["size"][1] > 2
    case["align"] = None if case["mode"].startswith("nearest") else rng.random() < 0.5


def _apply_resized(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    size, factors = (None, case["factors"]) if case["scaled"] else (case["to"], None)
    return torch.nn.functional.interpolate(
        x, size, factors, case["mode"], case["align"], antialias=case.get("antialias", False)
    )


def _padded(rng: random.Random, case: Case) -> None:
    _channels(rng, case)
    _sizes(rng, case)
    case["mode"] = rng.choice(["constant", "reflect", "replicate", "circular"])
    sides = []
    for n in reversed(case["size"]):
        most = n - 1 if case["mode"] == "reflect" else n
        sides += [rng.randint(0, min(most, 5)), rng.randint(0, min(most, 5))]
    if rng.random() < 0.3 and max(case["size"]) > 3 and case["mode"] in ("constant", "circular"):
        at = case["size"][::-1].index(max(case["size"]))
        sides[2 * at + 1] = -1
        sides[2 * at] = min(sides[2 * at], 2)
    case["sides"] = tuple(sides)


def _apply_padded(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    return torch.nn.functional.pad(x, case["sides"], mode=case["mode"])


def _columns(rng: random.Random, case: Case) -> None:
    case["axes"] = 2
    _pooling(rng, case)
    case["dilation"] = _each(rng, case, [1, 1, 2])
    case["padding"] = _each(rng, case, [0, 1, 2])
    _sizes(rng, case, _spans(case))


def _apply_unfold(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    return torch.nn.functional.unfold(
        x, case["kernel"], case["dilation"], case["padding"], case["stride"]
    )


def _apply_fold(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    return torch.nn.functional.fold(
        _apply_unfold(torch, case, x, own).cos(), case["size"], case["kernel"], case["dilation"],
        case["padding"], case["stride"],
    )  # fmt: skip


def _shuffled(rng: random.Random, case: Case) -> None:
    case["axes"] = 2
    case["factor"] = factor = rng.choice([1, 2, 3])
    case["channels"] = factor * factor * rng.choice([1, 2, 3, 5])
    _sizes(rng, case)
    case["size"] = tuple([n * factor for n in case["size"]])
    case["which"] = rng.choice(["pixel_shuffle", "pixel_unshuffle", "channel_shuffle"])
    case["batched"] = case["batched"] or case["which"] == "channel_shuffle"


def _apply_shuffled(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    return getattr(torch.nn.functional, case["which"])(x, case["factor"])


def _sampled(rng: random.Random, case: Case) -> None:
    case["axes"] = rng.choice([2, 2, 3])
    case["batched"] = True
    _channels(rng, case)
    _sizes(rng, case)
    case["mode"] = rng.choice(["bilinear", "nearest", "bicubic"][: 4 - case["axes"] + 1])
    case["outside"] = rng.choice(["zeros", "border", "reflection"])
    case["align"] = rng.random() < 0.5
    case["to"] = _each(rng, case, [1, 2, 5, 7])
    case["affine"] = rng.random() < 0.3


def _apply_sampled(torch: Any, case: Case, x: Any, own: Callable) -> Any:
    functional, axes = torch.nn.functional, case["axes"]
    if case["affine"]:
        places = functional.affine_grid(
            own(case["images"], axes, axes + 1), [case["images"], 1, *case["to"]], case["align"]
        )
    else:
        places = own(case["images"], *case["to"], axes)
    return functional.grid_sample(x, places, case["mode"], case["outside"], case["align"])


KINDS: dict[str, tuple[Callable, Callable]] = {
    "conv": (_conv, _apply_conv),
    "conv, once more": (_conv, _apply_conv),
    "transposed": (_transposed, _apply_transposed),
    "max": (_pooling, _apply_max_alone),
    "max and places": (_pooling, _apply_max),
    "avg": (_pooling, _apply_avg),
    "lp": (_pooling, _apply_lp),
    "adaptive max": (_adaptive, _apply_adaptive_max),
    "adaptive avg": (_adaptive, _apply_adaptive_avg),
    "unpool": (_unpool, _apply_unpool),
    "interpolate": (_resized, _apply_resized),
    "pad": (_padded, _apply_padded),
    "unfold": (_columns, _apply_unfold),
    "fold": (_columns, _apply_fold),
    "shuffle": (_shuffled, _apply_shuffled),
    "sample": (_sampled, _apply_sampled),
}


# (means of whole numbers may be zero but for rounding: then relu decides by that)
_WITH_TIES = ("max", "max and places", "adaptive max", "unpool")


# ---- running a case


def _values(shape: tuple, case: Case, number: int) -> np.ndarray:
    found = np.random.default_rng([case["seed"], number]).standard_normal(shape)
    if case.get("ties") and not number and case["kind"] in _WITH_TIES:
        found = np.round(found * 2)
    return found.astype(case["dtype"])


def outcome(torch: Any, case: Case) -> list[np.ndarray]:
    """The results and the gradients by everything that was given."""
    leaves: list[Any] = []

    def own(*shape: int) -> Any:
        leaves.append(torch.from_numpy(_values(shape, case, len(leaves))).requires_grad_())
        return leaves[-1]

    channels, size, before = case["channels"], case["size"], case["before"]
    if before == "permuted":
        x = own(case["images"], *size, channels)
        x = x.permute(0, len(size) + 1, *range(1, len(size) + 1))
    else:
        x = own(case["images"], channels, *size)
    if before == "relu":
        x = x.relu()
    elif before == "conv":
        conv = getattr(torch.nn.functional, f"conv{len(size)}d")
        x = conv(x, own(channels, channels, *(1,) * len(size)))
    if not case["batched"]:
        x = x[0]
    found = KINDS[case["kind"]][1](torch, case, x, own)
    results = list(found) if isinstance(found, tuple) else [found]
    y = results[0]
    if case["after"] == "relu":
        y = y.relu()
    elif case["after"] == "residual":
        y = y * y + y
    elif case["after"] == "norm" and case["batched"] and y.numel() > 4 * y.shape[1] and y.ndim > 2:
        y = torch.nn.functional.batch_norm(y, None, None, training=True)
    up = np.cos(np.arange(y.numel())).reshape(tuple(y.shape)).astype(case["dtype"])
    (y * torch.from_numpy(up)).sum().backward()
    results = [y, *results]
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    return [t.detach().numpy() for t in (*results, *gradients)]


def compiled(case: Case, threads: int = 1, tasks: int = 300) -> tuple[list[np.ndarray], list[str]]:
    """The outcome by machine code, compared with the interpreter's; and what the host did."""
    before = suiren.get_num_threads()
    suiren.set_num_threads(threads)
    try:
        with small_tasks(tasks), compiling() as made:
            found = outcome(suiren, case)
        return found, host_operators(made)
    finally:
        suiren.set_num_threads(before)


def interpreted(case: Case) -> list[np.ndarray]:
    """The outcome by NumPy."""
    from suiren.trace import program

    saved = program.COMPILE_AT
    program.COMPILE_AT = 1 << 60
    try:
        return outcome(suiren, case)
    finally:
        program.COMPILE_AT = saved


def expected(case: Case) -> list[np.ndarray] | None:
    """PyTorch's outcome; None where it refuses the case."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return outcome(torch, case)
    except (RuntimeError, ValueError, NotImplementedError):
        return None


def difference(found: list[np.ndarray], wanted: list[np.ndarray]) -> str:
    """What differs beyond rounding, against the largest element; empty when nothing does."""
    if len(found) != len(wanted):
        return f"{len(found)} arrays instead of {len(wanted)}"
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"array {number}: {a.dtype}{a.shape} instead of {b.dtype}{b.shape}"
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return f"array {number}: {np.sum(a != b)} of {a.size} whole numbers"
            continue
        size = max(float(np.abs(b).max(initial=0)), 1.0)
        off = float(np.abs(a - b).max(initial=0))
        if not off <= TOLERANCE[a.dtype.name] * size:
            return f"array {number}: off by {off:.3g} of {size:.3g}"
    return ""


def problems(case: Case, threads: bool = True) -> list[str]:
    """Everything that is wrong with a case; ["refused"] where PyTorch refuses it."""
    wanted = expected(case)
    if wanted is None:
        return ["refused"]
    found, hosts = compiled(case)
    wrong = [f"on the host: {name}" for name in sorted(set(hosts))]
    for name, arrays in (("compiled", found), ("interpreted", interpreted(case))):
        problem = difference(arrays, wanted)
        if problem:
            wrong.append(f"{name} is not PyTorch's: {problem}")
    for count in (2, 3) if threads else ():
        again, _ = compiled(case, count)
        if any(a.tobytes() != b.tobytes() for a, b in zip(found, again, strict=True)):
            wrong.append(f"other bits with {count} threads")
    return wrong


def main(first: int, end: int) -> int:
    """Runs the cases from first to end; prints what is wrong, gives how many were."""
    counts: collections.Counter[str] = collections.Counter()
    bad = 0
    for seed in range(first, end):
        case = some_case(seed)
        try:
            wrong = problems(case, threads=seed % 3 == 0)
        except Exception as problem:
            wrong = [f"{type(problem).__name__}: {str(problem).splitlines()[0][:300]}"]
        if wrong == ["refused"]:
            counts["refused"] += 1
            continue
        counts[case["kind"]] += 1
        if wrong:
            bad += 1
            print(case, *wrong, sep="\n    ", flush=True)
    print(f"cases {first} to {end}: {bad} wrong; {dict(counts)}")
    return bad


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]), int(sys.argv[2]))))
