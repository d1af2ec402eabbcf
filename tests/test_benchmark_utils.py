"""torch.utils.benchmark: statements are computed while they are timed; tables."""

from __future__ import annotations

import pytest

import suiren
from suiren.trace import programs
from suiren.utils import benchmark


def test_each_run_is_computed():
    calls = []

    def work(x):
        calls.append(1)
        return x + 1

    x = suiren.ones(3)
    before = programs.hits + programs.misses
    found = benchmark.Timer("work(x)", globals={"work": work, "x": x}).timeit(20)
    after = programs.hits + programs.misses
    assert len(calls) == 22 and after - before >= 22  # two to warm up
    assert found.number_per_run == 20 and len(found.times) == 1
    assert 0 < found.mean == found.median < 1


def test_setup_several_statements_and_the_name_torch():
    timer = benchmark.Timer("y = x * 2\ny.sum()", setup="x = torch.ones(4)\nz = 1")
    found = timer.blocked_autorange(min_run_time=0.01)
    assert sum(found.raw_times) >= 0.01 and len(found.times) >= 2
    assert "stmt:\n  y = x * 2\n  y.sum()" in repr(found) and "Median:" in repr(found)
    assert "setup:\n  x = torch.ones(4)" in repr(found)
    assert timer.adaptive_autorange(max_run_time=0.05).median > 0


def test_the_number_of_threads_is_put_back():
    before = suiren.get_num_threads()
    seen = []
    benchmark.Timer(
        "seen.append(torch.get_num_threads())", globals={"seen": seen}, num_threads=1
    ).timeit(3)
    assert set(seen) == {1} and suiren.get_num_threads() == before


def test_a_table_of_known_times():
    def made(name, row, times, threads=1):
        spec = benchmark.TaskSpec(
            "x", "pass", label="sums", sub_label=row, description=name, num_threads=threads)
        return benchmark.Measurement(10, times, spec)

    results = [made("a", "small", [2e-5]), made("b", "small", [4e-4]), made("a", "large", [1e-2])]
    table = benchmark.Compare(results)
    table.extend_results([made("b", "large", [1e-2, 3e-2], threads=2)])
    table.trim_significant_figures()
    lines = str(table).splitlines()
    assert lines[0].strip("[]-") == " sums " and lines[1].split() == ["|", "a", "|", "b"]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines[2:-2]]
    assert [row for row in cells if len(row) > 1] == [
        ["small", "2.0", "40"], ["large", "1000", ""], ["large", "", "2000"],
    ]  # fmt: skip
    assert [row[0][:9] for row in cells if len(row) == 1] == ["1 threads", "2 threads"]
    assert (results[0].label, results[0].sub_label) == ("sums", "small")
    assert lines[-1] == "Times are in microseconds (us)."


def test_what_is_not_there():
    with pytest.raises(NotImplementedError, match="Python"):
        benchmark.Timer("x", language="c++")
    with pytest.raises(NotImplementedError, match="instruction"):
        benchmark.Timer().collect_callgrind()
    with pytest.raises(ValueError, match="Measurement"):
        benchmark.Compare([3])
