"""Views, in-place writes and their gradients: random programs run on torch and suiren in step.

Each example makes a few base tensors and performs a random chain of view operators, in-place
writes, reads and out-of-place operations on whatever tensors exist by then. After each step every
tensor is compared: values, shape, strides, offset, contiguity, version, history; in the end the
gradients of a sum. A failing example prints the program it ran.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import suiren

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parent))
from aliasing_programs import no_grad, put  # noqa: E402 (a sibling file, not a package)

EXAMPLES = int(os.environ.get("SUIREN_ALIASING_EXAMPLES", "600"))
STEPS = 12


class Program:
    """One random program: its text, and the tensors of both sides side by side."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.seed = seed
        self.lines: list[str] = []
        self.tensors: list[tuple] = []  # (torch's, suiren's)

    # ---- making programs

    def base(self) -> None:
        r = self.random
        shape = tuple(r.choice((1, 2, 3, 4)) for _ in range(r.choice((0, 1, 2, 2, 3, 3))))
        count = int(np.prod(shape)) if shape else 1
        grad = r.random() < 0.55
        kind = r.choice(("plain", "plain", "numpy", "product"))
        numbers = [r.randint(-4, 4) for _ in range(count)]
        for_numpy = f"np.array({numbers}, 'float64').reshape({shape})"
        if kind == "numpy":
            text = f"m.from_numpy({for_numpy})"
        else:
            text = f"m.tensor({for_numpy}.tolist(), dtype=m.float64)"
        if grad:
            text += ".requires_grad_()"
            if kind == "product":
                text += " * 2"
        self.run(text)

    def step(self) -> None:
        r = self.random
        alive = [i for i, (x, _) in enumerate(self.tensors) if not without_history(x)]
        i = r.choice(alive[-4:] if r.random() < 0.6 else alive)
        x = self.tensors[i][0]
        what = r.random()
        if what < 0.45:
            self.run(self.view(x, f"t{i}"))
        elif what < 0.75:
            text = self.write(x, f"t{i}", alive)
            if r.random() < 0.25:
                text = f"no_grad(m, lambda: {text})"
            self.run(text)
        elif what < 0.80:
            self.run(f"t{i}.detach()")
        elif what < 0.83:
            if not x.requires_grad:
                self.run(f"t{i}.data")
        elif what < 0.86:
            self.run(f"no_grad(m, lambda: {self.view(x, f't{i}')})")
        elif what < 0.88:
            self.run(f"t{i}.clone()")
        elif what < 0.90:
            self.run(f"t{i}.contiguous()")
        elif what < 0.92:
            if self.alone(x) and not x.requires_grad:
                self.run(f"t{i}.detach_()")
        elif what < 0.94:
            # PyTorch gives views that exist already a history only after the next write
            if self.alone(x):
                self.run(f"t{i}.requires_grad_()")
        elif what < 0.97:
            self.run(f"t{i} * {r.choice((2.0, -1.0))}")
        else:
            self.run(r.choice((f"t{i} * t{i}", f"t{i}.relu()", f"t{i}.abs()")))

    def alone(self, x) -> bool:
        """Whether no other tensor shares the memory."""
        memory = x.untyped_storage().data_ptr()
        return [t.untyped_storage().data_ptr() for t, _ in self.tensors].count(memory) == 1

    def dim(self, x, extra: int = 0) -> int:
        n = max(x.dim() + extra, 1)
        return self.random.randint(-n, n - 1)

    def view(self, x, name: str) -> str:
        r = self.random
        d = self.dim(x)
        size = x.size(d) if x.dim() else 1
        start, stop = r.randint(0, size), r.randint(0, size)
        if r.random() < 0.7 and start > stop:
            start, stop = stop, start
        order = list(range(x.dim()))
        r.shuffle(order)
        shape = self.shape_of(x.numel())
        wide = [r.choice((n, n, -1)) if n != 1 else r.choice((1, -1, 2, 3)) for n in x.shape]
        if r.random() < 0.3:
            wide = [r.choice((1, 2)), *wide]
        choices = [
            f"{name}.view({shape})", f"{name}.view({shape})", f"{name}.reshape({shape})",
            f"{name}.view(-1)", f"{name}.reshape(-1)",
            f"{name}.select({d}, {r.randint(-size, size - 1)})" if size else f"{name}.view(-1)",
            f"{name}.narrow({d}, {start}, {max(stop - start, 0)})",
            f"{name}.transpose({d}, {self.dim(x)})", f"{name}.permute({order})",
            f"{name}.expand({wide})", f"{name}.unsqueeze({self.dim(x, 1)})",
            f"{name}.squeeze()", f"{name}.squeeze({d})",
            f"{name}.view_as({name})", f"{name}.expand_as({name})",
            f"{name}.T" if x.dim() == 2 else f"{name}.swapaxes({d}, {self.dim(x)})",
            f"{name}.flatten()", f"{name}.ravel()", f"{name}.movedim({d}, {self.dim(x)})",
            f"{name}.diagonal({r.randint(-1, 1)}, 0, {r.choice((1, -1))})",
            f"{name}.unfold({d}, {r.randint(1, 2)}, 2)",
            f"{name}.chunk({r.randint(1, 3)}, {d})", f"{name}.split({r.randint(1, 3)}, {d})",
            f"{name}.unbind({d})", f"{name}.t()",
        ]  # fmt: skip
        if x.numel() * 8 == x.untyped_storage().nbytes():
            # else PyTorch's gradient leaves out what x does not show; overlaps are not defined
            strides = r.choice(([3, 1], [1, 3], [2, 1], [0, 1], [1, 0], [4, 2]))
            text = f"{name}.as_strided([{r.randint(2, 3)}, 2], {strides}"
            if strides != [2, 1] or not x.requires_grad:
                choices += [f"{text}, {r.randint(0, 2)})", f"{text})"]
        if x.dim():
            choices += [
                f"{name}.unflatten({d}, (1, -1))",
                f"{name}[{start}:{stop}]", f"{name}[..., {start}:{stop}:{r.randint(1, 3)}]",
                f"{name}[{r.randint(-1, 0)}]", f"{name}[None]", f"{name}[..., None, {start}:]",
                f"{name}[{r.randint(-1, 0)}, ..., None]", f"{name}[...]", f"{name}[:]",
            ]  # fmt: skip
        return r.choice(choices)

    def shape_of(self, count: int) -> tuple:
        r = self.random
        shape = []
        while count > 1 and len(shape) < 3:
            divisors = [k for k in range(1, count + 1) if count % k == 0]
            k = r.choice(divisors)
            shape.append(k)
            count //= k
        if count > 1 or (shape and r.random() < 0.2):
            shape.append(count)
        return tuple(shape)

    def write(self, x, name: str, alive: list[int]) -> str:
        r = self.random
        # What an operation reads while it writes to the same memory is not defined.
        memory = x.untyped_storage().data_ptr()
        fit = [
            i for i in alive
            if self.tensors[i][0] is x or self.tensors[i][0].untyped_storage().data_ptr() != memory
        ]  # fmt: skip
        other = f"t{r.choice(fit)}"
        same = r.choice([f"t{i}" for i in fit if self.tensors[i][0].shape == x.shape] or [name])
        number = float(r.randint(-3, 3))
        choices = [
            f"{name}.add_({number})", f"{name}.mul_({number})", f"{name}.add_({other})",
            f"{name}.mul_({other})", f"{name}.sub_({other}.detach())",
            f"{name}.copy_({name} * 2)",
            f"m.add({same}.detach(), {number}, out={name}.detach())",
            # writes by .data escape the version counter, and what PyTorch had saved changes
            f"m.mul({same}.data, {number}, out={name}.{'data' if self.alone(x) else 'detach()'})",
            f"{name}.neg_()", f"{name}.relu_()", f"{name}.abs_()", f"{name}.clamp_(min={number})",
        ]
        if 0 not in x.stride():  # else PyTorch fills, but its gradient fails
            choices += [f"{name}.zero_()", f"{name}.fill_({number})", f"{name}.copy_({other})"]
        if other == name:
            other = number
        if x.dim() and 0 not in x.stride():
            choices += [
                f"put({name}, 0, {number})", f"put({name}, (Ellipsis, 0), {other})",
                f"put({name}, slice(0, 1), {number})", f"put({name}, slice(None), {name} * 3)",
                f"put({name}, (slice(None, None, 2),), {number})", f"put({name}, -1, {name}[0])",
            ]
        return r.choice(choices)

    # ---- running them

    def run(self, text: str) -> None:
        self.lines.append(text)
        ours, theirs = [self.one(text, side) for side in (1, 0)]
        if isinstance(theirs, NotImplementedError):
            theirs = RuntimeError(str(theirs))
        if isinstance(theirs, Exception) or isinstance(ours, Exception):
            same = type(theirs) is type(ours)
            assert same, f"{text}: torch {theirs!r}, suiren {ours!r}"
            return
        if not isinstance(theirs, (tuple, list)):
            theirs, ours = (theirs,), (ours,)
        assert len(theirs) == len(ours), text
        for a, b in zip(theirs, ours, strict=True):
            for i, (old, also) in enumerate(self.tensors):
                assert (old is a) == (also is b), f"{text}: identity with t{i}"
                if old is a:
                    break
            else:
                self.lines[-1] += f"  # t{len(self.tensors)}"
                self.tensors.append((a, b))

    def one(self, text: str, side: int):
        scope = {f"t{i}": pair[side] for i, pair in enumerate(self.tensors)}
        scope |= {"m": (torch, suiren)[side], "np": np, "put": put, "no_grad": no_grad}
        try:
            return eval(text, scope)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            return error.with_traceback(None)

    def compare(self) -> None:
        for i, (a, b) in enumerate(self.tensors):
            if not without_history(a):
                compare(a, b, f"t{i}")
        for i, (a, b) in enumerate(self.tensors):
            for j in range(i):
                c, d = self.tensors[j]
                if a.numel() and c.numel():
                    same = a.data_ptr() == c.data_ptr()
                    assert same == (b.data_ptr() == d.data_ptr()), f"memory of t{i} and t{j}"

    def gradients(self) -> None:
        ours, theirs = [self.total(side) for side in (1, 0)]
        if theirs is None:
            return
        errors = []
        for total in (theirs, ours):
            try:
                total.backward()
                errors.append(None)
            except RuntimeError as error:
                errors.append(error.with_traceback(None))
        a, b = errors
        assert type(a) is type(b), f"backward: torch {a!r}, suiren {b!r}"
        if a is None:
            for i, (x, y) in enumerate(self.tensors):
                if without_history(x) or not x.is_leaf or not x.requires_grad:
                    continue
                assert (x.grad is None) == (y.grad is None), f"t{i}.grad: {x.grad} and {y.grad}"
                if x.grad is not None:
                    compare(x.grad, y.grad, f"t{i}.grad", history=False)

    def total(self, side: int):
        total = None
        for i, pair in enumerate(self.tensors):
            if without_history(pair[0]) or not pair[0].numel():
                continue
            if pair[0].requires_grad:
                part = (pair[side] * (i + 1)).sum()
                total = part if total is None else total + part
        return total


def without_history(x) -> bool:
    """Whether this is a view that PyTorch has no place in the graph for, though its base has one.

    Such views were made under no_grad, or by split and the like before their base was written to.
    """
    try:
        return x.grad_fn is None and x._is_view() and x.requires_grad
    except RuntimeError:
        return True


def compare(a, b, name: str, history: bool = True) -> None:
    """Raises AssertionError where the two tensors differ in anything a program can see."""
    assert tuple(a.shape) == tuple(b.shape), f"{name}: shape {a.shape} and {b.shape}"
    if a.numel():
        assert a.stride() == tuple(b.stride()), f"{name}: stride {a.stride()} and {b.stride()}"
    if history:
        offsets = a.storage_offset(), b.storage_offset()
        assert offsets[0] == offsets[1], f"{name}: storage_offset {offsets}"
        assert a._version == b._version, f"{name}: _version {a._version} and {b._version}"
        assert a._is_view() == b._is_view() or not a.requires_grad, f"{name}: _is_view"
    assert a.is_contiguous() == b.is_contiguous(), f"{name}: is_contiguous"
    assert a.requires_grad == b.requires_grad, f"{name}: requires_grad {a.requires_grad}"
    assert a.is_leaf == b.is_leaf, f"{name}: is_leaf {a.is_leaf}"
    if history and a.grad_fn is not None:
        names = a.grad_fn.name(), b.grad_fn.name()
        assert same_node(*names), f"{name}: grad_fn {names}"
    values = a.detach().numpy(), b.detach().tolist()
    assert np.array_equal(values[0], np.array(values[1]).reshape(a.shape)), (
        f"{name}: {values[0].tolist()} and {values[1]}"
    )


def same_node(theirs: str, ours: str) -> bool:
    """Whether two names of nodes mean the same."""
    if theirs == "AsStridedBackward0":  # any write to the memory, even by detach(), renews it there
        return True
    if theirs == "SliceBackward0":  # a slice of everything leaves no step here
        return True
    if "Fill" in theirs or "Copy" in theirs:  # x[0] = 1 is one or the other
        return "Fill" in ours or "Copy" in ours
    if "Clamp" in theirs:
        return "Clamp" in ours
    return theirs.replace("WithSizes", "") == ours


def run_example(seed: int) -> None:
    """Runs the program of this seed; a failure tells the program."""
    program = Program(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(program.random.choice((1, 1, 2))):
                program.base()
            observe = program.random.random() < 0.7
            for _ in range(program.random.randint(2, STEPS)):
                program.step()
                if observe:
                    program.compare()
            program.compare()
            program.gradients()
    except AssertionError as error:
        text = "\n".join(program.lines)
        raise AssertionError(f"seed {seed}: {error}\n{text}") from None
    except Exception as error:
        text = "\n".join(program.lines)
        raise AssertionError(f"seed {seed}: {error!r}\n{text}") from error


@pytest.mark.parametrize("block", range(5))
def test_random_programs_agree_with_torch(block: int) -> None:
    for seed in range(block * EXAMPLES // 5, (block + 1) * EXAMPLES // 5):
        run_example(seed)
