"""Operators, one file for each family; importing this package registers them all.

What a definition looks like: ``suiren/operator.py``. How to add one: ``docs/architecture.md``.
"""

from suiren.ops import (  # noqa: F401
    activation,
    arithmetic,
    bitwise,
    casts,
    comparison,
    complex_numbers,
    convolution,
    creation,
    dropout,
    embedding,
    extremes,
    indexing,
    linear_algebra,
    loss,
    masking,
    matmul,
    normalization,
    pointwise,
    pooling,
    random,
    reductions,
    scan,
    shape,
    softmax,
    sorting,
    special,
    statistics,
    views,
)
