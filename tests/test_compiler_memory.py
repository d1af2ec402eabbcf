"""The arrays that compiled programs hand out and take back: suiren/compiler/memory.py."""

import numpy as np
import pytest

from suiren.compiler import memory

KIND = np.dtype(np.float32)
KILOBYTE = (256,)


@pytest.fixture
def pool(monkeypatch):
    """A pool that remembers a hundred arrays of a kilobyte, or four hundred that are in use."""
    size = KIND.itemsize * KILOBYTE[0] + memory._OVERHEAD
    monkeypatch.setattr(memory, "MAX_BYTES", 100 * size)
    monkeypatch.setattr(memory, "MORE_BYTES", 20 * size)
    monkeypatch.setattr(memory, "MOST_BYTES", 400 * size)
    return memory.Pool()


def remembered(pool):
    return sum(len(lent) for lent in pool._lent.values())


def test_what_is_free_is_handed_out_again(pool):
    first = pool.take((KILOBYTE, KIND))
    place = first.ctypes.data
    second = pool.take((KILOBYTE, KIND))
    assert second.ctypes.data != place
    del first
    assert pool.take((KILOBYTE, KIND)).ctypes.data == place


def test_work_that_repeats_makes_nothing_new_however_large_it_is(pool, monkeypatch):
    held = [pool.take(((257,), KIND)) for _ in range(150)]  # parameters, say
    made = []
    original = memory.empty
    monkeypatch.setattr(memory, "empty", lambda *key: made.append(key) or original(*key))
    for turn in range(6):
        gradients = [pool.take((KILOBYTE, KIND)) for _ in range(150)]
        assert len({array.ctypes.data for array in (*held, *gradients)}) == 300
        del gradients
        if turn < 2:
            made.clear()
    assert not made


def test_work_on_ever_new_shapes_holds_no_old_ones(pool):
    most = 0
    for size in range(1000):
        pool.take(((256 + size % 500, 1), KIND))
        most = max(most, pool._bytes)
        assert len(pool.addresses) == remembered(pool)
    assert most < 3 * memory.MAX_BYTES


def test_what_is_in_use_is_forgotten_when_it_is_very_much(pool):
    held = [pool.take((KILOBYTE, KIND)) for _ in range(1000)]
    assert remembered(pool) <= 421
    assert len({array.ctypes.data for array in held}) == 1000
