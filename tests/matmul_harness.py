"""Runs products of suiren.compiler.codegen.matmul on NumPy arrays; for its tests and benchmarks."""

from __future__ import annotations

import ctypes

import numpy as np

from suiren.compiler import machine_code, runtime, target
from suiren.compiler.codegen import matmul

SCALARS = {
    "float32": "float", "float64": "double", "float16": "half", "uint16": "bfloat",
    "int32": "i32", "int64": "i64",
}  # fmt: skip


def matrix(slot: int, array: np.ndarray, load=None) -> matmul.Matrix:
    """An operand for the array; its batch strides are those of all but two dimensions.

    Arrays of uint16 stand for bfloat16.
    """
    strides = [step // array.itemsize for step in array.strides]
    return matmul.Matrix(
        slot, 0, strides[-2], strides[-1], tuple(strides[:-2]), SCALARS[str(array.dtype)], load
    )


class Runner:
    """A compiled product of two arrays, and its result."""

    def __init__(
        self, a, b, compute="float", out=None, finish=None, on=None, extra=(), product=None
    ):  # fmt: skip
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a = np.broadcast_to(a, batch + a.shape[-2:])
        b = np.broadcast_to(b, batch + b.shape[-2:])
        m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
        kind = {v: key for key, v in SCALARS.items()}[compute]
        self.out = np.full((*batch, m, n), 7, kind) if out is None else out
        strides = [step // self.out.itemsize for step in self.out.strides]
        product = product or matmul.Product(batch, m, n, k, matrix(0, a), matrix(1, b), compute)
        short = finish is None
        finish = finish or matmul.store_finish(
            2, SCALARS[str(self.out.dtype)], strides[-2], tuple(strides[:-2])
        )
        self.plan = matmul.plan(product, on or target.host(), finish, 3 + len(extra), short)
        self.kernels = machine_code.load([part.text for part in self.plan.parts])
        self.keep = [a, b, *extra]
        slots = [a.ctypes.data, b.ctypes.data, self.out.ctypes.data]
        slots += [x.ctypes.data for x in extra]
        for slot, size in self.plan.scratch:
            assert slot == len(slots)
            memory = np.full(size + 63, 255, np.uint8)
            self.keep.append(memory)
            slots.append((memory.ctypes.data + 63) & ~63)
        self.cells = (ctypes.c_void_p * len(slots))(*slots)
        cell = ctypes.addressof(self.cells)
        self.args = (ctypes.c_void_p * len(slots))(*range(cell, cell + 8 * len(slots), 8))
        steps = []
        for part, kernel in zip(self.plan.parts, self.kernels, strict=True):
            steps += [kernel.address, ctypes.addressof(self.args), part.tasks, int(part.barrier)]
        self.steps = (ctypes.c_int64 * len(steps))(*steps)
        self.table = ctypes.addressof(self.steps)

    def __call__(self):
        runtime.run(self.table, len(self.plan.parts))
        return self.out

    def in_order(self, order):
        """Runs the parts one by one on this thread, each part's tasks as ``order(n)`` says."""
        for part, kernel in zip(self.plan.parts, self.kernels, strict=True):
            call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(kernel.address)
            for task in order(part.tasks):
                call(ctypes.addressof(self.args), task)
        return self.out
