"""Integers near numbers, and remainders of divisions."""

from __future__ import annotations

from suiren.compiler.codegen.mathematics.values import Value


def floor(x: Value) -> Value:
    return x.floor()


def ceil(x: Value) -> Value:
    return x.ceil()


def trunc(x: Value) -> Value:
    return x.truncated()


def round(x: Value) -> Value:
    """Halves go to the even neighbour."""
    return x.rounded()
