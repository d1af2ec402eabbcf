"""torch.profiler: what is recorded, PyTorch's interface to it, the trace file."""

import gzip
import json
import threading
import warnings

import pytest
from compiling import needs_compiler

import suiren
from suiren import dispatch, profiler
from suiren.profiler import ProfilerAction, profile, record_function, schedule
from suiren.trace import program
from suiren.trace.recorder import Trace


@pytest.fixture
def step():
    suiren.manual_seed(0)
    w = suiren.randn(16, 8, requires_grad=True)
    x = suiren.randn(4, 16)
    optimizer = suiren.optim.SGD([w], lr=0.1)

    def step():
        with record_function("forward"):
            loss = (x @ w).relu().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def keys(prof):
    return {average.key: average for average in prof.key_averages()}


def test_operators_are_counted_and_nested(step):
    with profile(record_shapes=True) as prof:
        for _ in range(3):
            step()
    found = keys(prof)
    assert found["aten::relu"].count == 3 and found["forward"].count == 3
    assert found["backward"].count == 3 and found["Optimizer.step#SGD.step"].count == 3
    event = next(e for e in prof.events() if e.name == "aten::mm")
    assert event.cpu_parent.name == "forward" and event in event.cpu_parent.cpu_children
    assert event.input_shapes == [[4, 16], [16, 8]]
    assert event.cpu_time_total > 0 and event.count == 1
    shaped = prof.key_averages(group_by_input_shape=True)
    assert any(average.input_shapes == [[4, 16], [16, 8]] for average in shaped)


@needs_compiler
def test_programs_have_their_kernels(step, monkeypatch):
    monkeypatch.setattr(program, "SMALL_PATIENCE", 2)
    program.programs.clear()
    with profile(with_flops=True, profile_memory=True) as prof:
        for _ in range(5):
            step()
    kernels = [e for e in prof.events() if e.kind == "kernel"]
    assert kernels and all(e.cpu_parent.kind == "program" for e in kernels)
    assert any(e.name.endswith(" mm+relu+sum") or " mm" in e.name for e in kernels)
    assert all({"tasks", "threads", "bytes read", "operations"} <= set(e.details) for e in kernels)
    assert sum(e.flops for e in kernels) >= 2 * 4 * 16 * 8
    assert "suiren::compile" in keys(prof)
    assert any(e.cpu_memory_usage > 0 for e in prof.events() if e.kind == "program")
    for event in kernels:
        parent = event.cpu_parent.time_range
        assert parent.start <= event.time_range.start <= event.time_range.end <= parent.end


def test_interpreted_programs_have_their_operators(monkeypatch):
    monkeypatch.setattr(program, "COMPILE_AT", float("inf"))
    program.programs.clear()
    with profile() as prof:
        (suiren.ones(9) * 2).sum().item()
    assert {"interpreted mul", "interpreted sum", "program 1"} <= set(keys(prof))


def test_what_is_pending_is_computed_on_its_own_side():
    before = suiren.ones(5) * 2
    with profile() as prof:
        after = suiren.ones(5) + 3
    names = [e.name for e in prof.events()]
    assert "aten::mul" not in names and names.count("program 1") == 1
    assert before.tolist() == [2.0] * 5 and after.tolist() == [4.0] * 5


def test_everything_is_put_back(step):
    code, segment = dispatch.apply.__code__, Trace.record_segment
    backward, sgd = suiren.autograd.backward, suiren.optim.SGD.step
    with pytest.raises(ValueError):
        with profile():
            assert dispatch.apply.__code__ is not code
            step()
            raise ValueError
    assert dispatch.apply.__code__ is code and Trace.record_segment is segment
    assert suiren.autograd.backward is backward and suiren.optim.SGD.step is sgd
    assert not program.watchers
    with record_function("nobody looks"):
        step()


def test_profiles_are_not_nested():
    with profile():
        with pytest.raises(RuntimeError, match="nested"):
            with profile():
                pass
    with profile() as prof:  # and the first was closed as usual
        suiren.ones(2) + 1
    assert "aten::add" in keys(prof)


def test_the_table_has_pytorchs_columns(step):
    with profile(profile_memory=True) as prof:
        step()
    text = prof.key_averages().table(sort_by="cpu_time_total", row_limit=3, header="mine")
    lines = text.splitlines()
    assert lines[1] == "mine"
    assert lines[3].split("  ") and [c.strip() for c in lines[3].split("  ") if c.strip()] == [
        "Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "CPU Mem",
        "Self CPU Mem", "# of Calls",
    ]  # fmt: skip
    assert len(lines) == 3 + 2 + 3 + 2
    assert lines[-1].startswith("Self CPU time total: ")
    averages = prof.key_averages()
    total = sum(average.self_cpu_time_total for average in averages)
    assert averages.self_cpu_time_total == pytest.approx(total)
    assert averages.total_average().count == len(prof.events())
    with pytest.raises(AttributeError, match="'FunctionEventAvg' object has no attribute 'foo'"):
        averages.table(sort_by="foo")
    for name in ("self_cuda_time_total", "cuda_time_total", "count", "cpu_time"):
        averages.table(sort_by=name)
    assert "Input Shapes" not in text
    assert suiren.profiler.profile is profile


def test_the_chrome_trace_is_json_with_nested_events(step, tmp_path):
    with profile(record_shapes=True, with_stack=True) as prof:
        for _ in range(3):
            step()
    prof.add_metadata("note", "hello")
    prof.add_metadata_json("numbers", "[1, 2]")
    path = tmp_path / "trace.json"
    prof.export_chrome_trace(str(path))
    trace = json.loads(path.read_text())
    assert trace["note"] == "hello" and trace["numbers"] == [1, 2]
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(spans) == len(prof.events())
    open_spans: list = []
    deepest = 0
    for span in sorted(spans, key=lambda s: (s["ts"], -s["dur"])):
        assert span["dur"] >= 0
        end = span["ts"] + span["dur"]
        while open_spans and span["ts"] >= open_spans[-1]:
            open_spans.pop()
        assert not open_spans or end <= open_spans[-1] + 1e-3, span
        open_spans.append(end)
        deepest = max(deepest, len(open_spans))
    assert deepest >= 3  # backward, a program, what it did
    assert any("test_profiler.py" in span["args"].get("Call stack", "") for span in spans)
    prof.export_chrome_trace(str(tmp_path / "trace.json.gz"))
    with gzip.open(tmp_path / "trace.json.gz") as file:
        assert len(json.load(file)["traceEvents"]) == len(trace["traceEvents"])


def test_stacks(step, tmp_path):
    with profile(with_stack=True) as prof:
        step()
    prof.export_stacks(str(tmp_path / "stacks"), "self_cpu_time_total")
    lines = (tmp_path / "stacks").read_text().splitlines()
    assert lines and all(line.rsplit(" ", 1)[1].isdigit() for line in lines)
    assert any("_step" in line for line in lines)
    with pytest.raises(ValueError, match="metric should be one of"):
        prof.export_stacks(str(tmp_path / "stacks"), "foo")
    text = prof.key_averages(group_by_stack_n=3).table(sort_by="count")
    assert "Source Location" in text and "test_profiler.py" in text


def test_schedules(step):
    plan = schedule(wait=1, warmup=1, active=2, repeat=2, skip_first=1)
    names = ["NONE", "NONE", "WARMUP", "RECORD", "RECORD_AND_SAVE"]
    names += ["NONE", "WARMUP", "RECORD", "RECORD_AND_SAVE", "NONE", "NONE"]
    assert [plan(i).name for i in range(11)] == names
    ready = []
    with profile(schedule=plan, on_trace_ready=lambda p: ready.append((p.step_num, keys(p)))) as p:
        for _ in range(11):
            step()
            p.step()
    assert [number for number, _ in ready] == [5, 9]
    for number, found in ready:
        assert {f"ProfilerStep#{number - 2}", f"ProfilerStep#{number - 1}"} <= set(found)
        assert found["forward"].count == 2
    assert p.current_action is ProfilerAction.NONE
    with pytest.raises(AssertionError, match="Invalid profiler schedule"):
        schedule(wait=-1, warmup=0, active=1)
    with pytest.raises(AssertionError, match="Invalid profiler schedule"):
        schedule(wait=0, warmup=0, active=0)


def test_schedules_are_pytorchs():
    torch = pytest.importorskip("torch")
    for numbers in [(1, 1, 2, 2, 1, 0), (3, 0, 1, 0, 0, 1), (2, 1, 1, 2, 2, 1), (0, 0, 1, 1, 0, 0)]:
        names = ("wait", "warmup", "active", "repeat", "skip_first", "skip_first_wait")
        chosen = dict(zip(names, numbers, strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of no warmup
            ours, theirs = schedule(**chosen), torch.profiler.schedule(**chosen)
        assert [ours(i).name for i in range(20)] == [theirs(i).name for i in range(20)], chosen


def test_handlers_write_files(step, tmp_path):
    folder = tmp_path / "runs" / "a"
    handler = profiler.tensorboard_trace_handler(str(folder), worker_name="me", use_gzip=True)
    with profile(on_trace_ready=handler):
        step()
    (path,) = folder.iterdir()
    assert path.name.startswith("me.") and path.name.endswith(".pt.trace.json.gz")


def test_before_the_end_there_are_no_events():
    with profile() as prof:
        with pytest.raises(AssertionError, match="no events yet"):
            prof.key_averages()
    assert profiler.supported_activities() == {profiler.ProfilerActivity.CPU}
    with pytest.warns(UserWarning, match="CUDA"):
        profile(activities=[profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA])
    with pytest.raises(NotImplementedError):
        prof.export_memory_timeline("x")


def test_record_function_decorates_and_data_loaders_are_seen():
    data = suiren.utils.data.TensorDataset(suiren.arange(4.0))
    loader = suiren.utils.data.DataLoader(data, batch_size=2)

    @record_function("mine")
    def work(x):
        return x * 2

    with profile() as prof:
        for (batch,) in loader:
            work(batch)
    found = keys(prof)
    assert found["mine"].count == 2 and found["mine"].is_user_annotation
    assert any(key.startswith("enumerate(DataLoader)#") for key in found)


def test_threads_have_their_own_spans():
    with profile() as prof:
        worker = threading.Thread(target=lambda: (suiren.ones(3) * 2).sum().item())
        with record_function("outer"):
            worker.start()
            worker.join()
    outer = next(e for e in prof.events() if e.name == "outer")
    other = next(e for e in prof.events() if e.name == "aten::mul")
    assert other.thread != outer.thread and other.cpu_parent is None


def test_the_older_interface(step, tmp_path):
    from suiren.autograd.profiler import emit_nvtx
    from suiren.autograd.profiler import profile as older

    with older(record_shapes=True) as prof:
        with suiren.autograd.profiler.record_function("mine"):
            step()
    assert any(e.name == "mine" for e in prof.function_events)
    assert "aten::mm" in str(prof) and "aten::mm" in prof.table(sort_by="cpu_time_total")
    assert prof.self_cpu_time_total > 0 and prof.total_average().count > 3
    prof.export_chrome_trace(str(tmp_path / "trace.json"))
    with older(enabled=False) as nothing:
        assert nothing is None
    with emit_nvtx(enabled=False):
        pass
    with pytest.raises(NotImplementedError, match="emit_nvtx"):
        with emit_nvtx():
            pass


@needs_compiler
def test_replayed_calls_of_compiled_functions_are_seen(monkeypatch):
    monkeypatch.setattr(program, "SMALL_PATIENCE", 2)
    x = suiren.arange(1000.0)
    x.numpy()
    f = suiren.compile(lambda a: (a * 2 + 1).relu().sum())
    for _ in range(8):
        f(x).item()
    with profile() as prof:
        for _ in range(3):
            f(x).item()
    found = keys(prof)
    assert any(key.startswith("kernel ") for key in found)
    explained = suiren.explain(f, x)
    assert [entry.operator for entry in explained.programs[0].operations] == [
        "mul", "add", "relu", "sum",
    ]  # fmt: skip


@needs_compiler
def test_replayed_training_steps_are_seen(monkeypatch):
    monkeypatch.setattr(program, "SMALL_PATIENCE", 2)
    w, x = suiren.ones(8, 8, requires_grad=True), suiren.ones(4, 8)
    optimizer = suiren.optim.SGD([w], lr=0.1)

    @suiren.compile
    def whole():
        optimizer.zero_grad()
        ((x @ w) ** 2).mean().backward()
        optimizer.step()

    for _ in range(8):
        whole()
    with profile() as prof:
        for _ in range(3):
            whole()
    found = keys(prof)
    assert sum(average.count for key, average in found.items() if key.startswith("program ")) >= 3
    assert any(key.startswith("kernel ") for key in found)
