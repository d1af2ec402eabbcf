"""SUIREN_LOG and suiren.explain: what they show is what the compiler made, and nothing changes."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from compiling import compiling, needs_compiler

import suiren
import suiren.nn.functional as F
from suiren.compiler import listing
from suiren.trace import program
from suiren.trace.recorder import Trace, local

pytestmark = needs_compiler


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    """Programs are compiled when they are seen again; nothing is printed afterwards."""
    monkeypatch.setattr(program, "COMPILE_AT", 2)
    yield
    listing.set_log("")


def logged(capsys, names, work):
    """What is printed when this is compiled."""
    with compiling():
        suiren.set_log(names)
        work()
    return capsys.readouterr().err


def softmax_of_product():
    x, w = suiren.ones(8, 16), suiren.ones(16, 32)
    return (x @ w + 1).softmax(1).numpy()


def test_each_stage_is_printed_by_its_name(capsys):
    text = logged(capsys, "trace,graph,kernels,llvm,asm", softmax_of_product)
    places = [text.index(f"==== {name}\n") for name in listing.NAMES]
    assert places == sorted(places)
    trace, graph, kernels, llvm, asm = (
        part for part in text.split("==== ")[1:]
    )
    assert "mm(%" in trace and "softmax(%" in trace and "dim=1" in trace and "kept: %" in trace
    assert "= matmul(" in graph and "return n" in graph
    assert "sum over k in 0..16" in kernels and "exp(" in kernels and "at a time" in kernels
    assert "define void @kernel(ptr %args, i64 %task)" in llvm
    assert "ret" in asm


def test_only_what_is_asked_for_is_printed(capsys):
    assert logged(capsys, "", softmax_of_product) == ""
    text = logged(capsys, ["graph"], softmax_of_product)
    assert text.count("====") == 1 and text.startswith("==== graph\n")


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.warns(UserWarning, match="'ir'.*trace, graph, kernels, llvm, asm"):
        suiren.set_log("kernels, ir")
    assert listing.switches == {"kernels"}


def test_the_environment_sets_it():
    code = (
        "import suiren\nx = suiren.ones(10)\nfor _ in range(40): (x * 3 + 1).sum().item()\n"
    )
    environment = {**os.environ, "SUIREN_LOG": "kernels", "SUIREN_JIT": "1", "SUIREN_CHECK": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert "==== kernels" in done.stderr and "for i in 0..10" in done.stderr


def made(*shape):
    """A tensor that is computed."""
    x = suiren.ones(shape)
    x.numpy()
    return x


def loops_of(work):
    """The text of all kernels of what is compiled."""
    with compiling() as natives:
        work()
    return "\n".join("\n".join(listing.kernel_lines(native.plan)) for native in natives)


def test_a_chain_is_one_loop_with_one_statement():
    x = made(1000)
    text = loops_of(lambda: ((x * 2.0 + 1.0).exp() - x).numpy())
    assert text.count("kernel ") == 1
    assert "for i in 0..1000" in text
    line = next(line for line in text.splitlines() if "[i] = " in line)
    assert "exp(" in line and "n0[i]" in line and "float32(number" in line


def test_a_softmax_walks_its_rows_and_keeps_the_exponentials():
    x = made(2000, 100)
    text = loops_of(lambda: x.softmax(1).numpy())
    lines = [line.strip() for line in text.splitlines()]
    assert any(line.startswith("parallel for i in 0..2000 (") for line in lines)
    assert sum(line.startswith("for j in 0..100") for line in lines) == 3
    assert any(line.startswith("row0[j] = exp(") for line in lines)


def test_a_product_shows_strides_and_epilogue():
    a, b, c = made(32, 48), made(64, 48), made(64)
    text = loops_of(lambda: (a @ b.T + c).relu().numpy())
    assert "for m in 0..32, n in 0..64:" in text
    assert "sum over k in 0..48 of n1[48*m + k] * n0[k + 48*n]" in text
    assert "max(" in text and "[n]" in text


def test_partial_sums_columns_scans_scatters_and_the_host():
    x = made(100_000, 8)

    def work():
        x.sum().item()
        x.sum(0).numpy()
        x.cumsum(0).numpy()
        suiren.zeros(9, 8).index_add(0, suiren.tensor([1, 2]), x[:2]).numpy()
        (suiren.linalg.svd(x[:4] + 1)[1] + 1).numpy()

    text = loops_of(work)
    assert "(one for each task)" in text and "over tasks of partial_n" in text
    assert "n2[j] += " in text or "[j] += n0[" in text
    assert "in order, along dimension 0" in text and "[..., i - 1, ...] + " in text
    assert "host: linalg_svd(n" in text


def test_convolutions_and_gathers_have_a_text():
    x, w = made(2, 3, 8, 8), made(4, 3, 3, 3)
    text = loops_of(lambda: F.conv2d(x, w).relu()[:, :, suiren.tensor([0, 1])].numpy())
    assert "kernel " in text and "cannot" not in text


def test_costs_are_counted():
    from suiren.compiler import costs

    a, b = made(64, 32), made(32, 16)
    with compiling() as natives:
        (a @ b).numpy()
        (a * 2.0 + 1.0).numpy()
    first, second = (
        costs.cost_of(step, native.plan) for native in natives for step in native.plan.steps[-1:]
    )
    assert first == costs.Cost(4 * (64 * 32 + 32 * 16), 4 * 64 * 16, 2 * 64 * 32 * 16)
    assert second.read == second.written == 4 * 64 * 32
    assert second.operations == 2 * 64 * 32


# ---- explain


def training():
    suiren.manual_seed(0)
    w = suiren.randn(32, 8, requires_grad=True)
    x, y = suiren.randn(16, 32), suiren.randint(0, 8, (16,))
    optimizer = suiren.optim.SGD([w], lr=0.1)

    def step():
        loss = F.cross_entropy(x @ w, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, w


def test_explain_shows_lines_kernels_and_times():
    step, _ = training()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = suiren.explain(step)
    assert all(part.compiled for part in found.programs)
    operations = [entry for part in found.programs for entry in part.operations]
    by_name = {entry.operator: entry.place for entry in operations}
    assert by_name["sgd_step"].text == "optimizer.step()"
    assert by_name["log_softmax"].text == "loss = F.cross_entropy(x @ w, y)"
    assert by_name["nll_loss_gradient"].text == "loss.backward()"
    assert by_name["mm"].file == __file__
    kernels = found.kernels
    assert kernels and all(kernel.seconds > 0 for kernel in kernels)
    product = next(kernel for kernel in kernels if "matmul" in kernel.name)
    assert product.operations >= 2 * 16 * 32 * 8
    assert product.sources[0][0] == "mm" and "sum over k" in product.code
    assert "define void @kernel" in product.ir and "ret" in product.assembly
    text = str(found)
    for part in ("GB/s", "GFLOP/s", "test_listing.py", "loss.backward()", "bytes read", "for i"):
        assert part in text
    assert found.peaks.gigaflops > 1 and found.peaks.gigabytes > 0.1
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["programs"][0]["kernels"][0]["bytes_read"] > 0
    assert "<pre>" in found._repr_html_()


def test_explain_runs_the_function_and_changes_nothing_else():
    step, w = training()
    found = suiren.explain(step)
    after = w.detach().numpy().copy()
    step, w = training()
    for _ in range(found.calls):
        step()
    np.testing.assert_allclose(w.detach().numpy(), after, rtol=1e-5, atol=1e-6)
    assert type(local.trace) is Trace and not program.watchers


def test_explain_of_inplace_updates_leaves_tensors_as_the_calls_did():
    x = suiren.zeros(100)
    calls = []

    def add():
        calls.append(1)
        x.add_(1.0)

    found = suiren.explain(add)
    assert x.tolist() == [len(calls)] * 100
    assert len(calls) == found.calls


def test_explain_with_steps_on_the_host():
    found = suiren.explain(lambda a: suiren.linalg.svd(a @ a.T)[1].sum(), suiren.ones(6, 4))
    (report,) = found.programs
    (step,) = report.host
    assert step.operator == "linalg_svd" and step.seconds > 0 and "svd" in step.place.text
    assert len(report.kernels) == 2
    assert "host: linalg_svd" in str(found)


def test_explain_without_compiling(monkeypatch):
    monkeypatch.setattr(program, "COMPILE_AT", float("inf"))
    x = suiren.arange(7.0)
    found = suiren.explain(lambda: (x * 3).cos().sum())
    (report,) = found.programs
    assert not report.compiled and not found.kernels and found.peaks is None
    assert [step.operator for step in report.host] == ["mul", "cos", "sum"]
    assert "interpreted" in str(found)


def test_explain_passes_errors_on_and_puts_everything_back():
    def wrong():
        suiren.ones(3) + 1
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        suiren.explain(wrong)
    assert type(local.trace) is Trace and not program.watchers
    assert suiren.explain(lambda: None).programs == []
