"""Recording, flushing, keys and the program cache; the interpreter's use of memory."""

import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import suiren as torch
from suiren.operator import operator
from suiren.tensor import new_tensor, value_of
from suiren.trace import Value, current_trace, flush, programs


@pytest.fixture(autouse=True)
def fresh_trace():
    flush()
    yield
    flush()


def pending(x):
    return value_of(x).buffer is None


def test_nothing_is_computed_until_someone_looks():
    x = torch.tensor([1.0, 2.0])
    y = x * 2 + 1
    assert pending(y)
    assert y.shape == (2,)
    assert pending(y)
    assert y.tolist() == [3.0, 5.0]
    assert not pending(y)


@pytest.mark.parametrize(
    "look", [str, lambda x: x.item(), float, bool, lambda x: x.numpy(), lambda x: x.tolist()]
)
def test_every_observation_computes(look):
    y = torch.tensor([1.0]) * 2
    look(y)
    assert not pending(y)


def test_what_nobody_holds_is_not_stored():
    x = torch.tensor([1.0, 2.0])
    y = (x * 2) + 1
    temporary = weakref.ref(value_of(x * 3))
    assert temporary() is None
    trace = current_trace()
    held = [r for r in trace.results if r() is not None]
    assert len(trace.results) == 3 and len(held) == 1
    y.tolist()


def test_a_repeated_trace_is_one_program_whatever_the_numbers():
    x = torch.tensor([1.0, 2.0])
    (x * 0.5 + 1).tolist()
    before, hits = programs.misses, programs.hits
    for i in range(5):
        # (not inside an assert statement: pytest keeps the parts of those alive)
        first = (x * (0.1 * i) + i).tolist()
        second = (x * 0.5 + float(i)).tolist()
        assert first == pytest.approx([0.1 * i + i, 0.2 * i + i])
        assert second == [0.5 + i, 1.0 + i]
    # an int and a float are numbers of different kinds, hence one more program
    assert programs.misses == before + 1
    assert programs.hits == hits + 9


def test_shapes_dtypes_and_wanted_results_make_other_programs():
    def count(work):
        before = programs.misses
        kept = work()
        flush()
        del kept
        return programs.misses - before

    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert count(lambda: x - 0.25) <= 1
    assert count(lambda: x - 0.25) == 0
    assert count(lambda: x.view(5, 1) - 0.25) == 1
    assert count(lambda: x.double() - 0.25) == 1

    def two():
        first = x - 0.25
        return first, first - 0.25

    assert count(two) == 1
    assert count(lambda: two()[1]) == 1  # the same entries, only the last is wanted
    assert count(lambda: two()[1]) == 0


def test_the_program_cache_is_bounded():
    from suiren.trace.program import ProgramCache

    def key(number, length):
        return (((torch.add.__wrapped__.operator, (number,), (), ()),) * length, (), ())

    cache = ProgramCache(limit=3, entries=100)
    for number in range(5):
        cache.get(key(number, 10))
    assert len(cache) == 3 and cache.entries == 30
    cache.get(key(9, 95))
    assert len(cache) == 1 and cache.entries == 95
    cache.get(key(8, 500))  # one program is kept whatever its size
    assert len(cache) == 1 and cache.entries == 500
    cache.clear()
    assert len(cache) == 0 and cache.entries == 0


def test_a_loop_without_observation_stays_bounded():
    x = torch.tensor([0.0])
    most = 0
    for _ in range(10_000):
        x = x + 1
        most = max(most, len(current_trace().entries))
    assert most <= 4000
    assert x.item() == 10_000


def test_a_large_step_is_recorded_whole_where_its_results_are_held(monkeypatch):
    recorder = sys.modules["suiren.trace.recorder"]
    monkeypatch.setattr(recorder, "_BYTES_PER_ENTRY", 1)  # 4,000 bytes fill the trace
    x = torch.ones(250) * 1
    x.tolist()
    total = x
    for _ in range(40):  # temporaries: computed as they fill it
        total = total + x
    assert len(current_trace().entries) <= 5
    flush()
    held = [x]
    for _ in range(40):  # as what autograd keeps for the backward pass
        held.append(held[-1] + x)
    assert len(current_trace().entries) == 40
    monkeypatch.setattr(recorder, "MAX_STEP_BYTES", 50_000)
    for _ in range(40):
        held.append(held[-1] + x)
    assert len(current_trace().entries) < 40
    assert held[-1].tolist() == [81.0] * 250


def test_a_backward_pass_is_computed_with_what_it_reads(monkeypatch):
    recorder = sys.modules["suiren.trace.recorder"]
    monkeypatch.setattr(recorder, "_BYTES_PER_ENTRY", 1)  # 4,000 bytes fill the trace
    x = torch.ones(250, requires_grad=True)
    counts = []

    class Long(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            for _ in range(40):  # temporaries
                grad = grad + 1
            counts.append(len(current_trace().entries))
            return grad

    flush()
    y = Long.apply(x).sum()
    for _ in range(3):
        x.detach() + 1  # noqa: B018 (nobody holds it)
    y.backward()
    assert counts[0] >= 40
    assert x.grad.tolist() == [41.0] * 250


def test_training_repeats_two_programs():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    x, y = torch.randn(8, 3), torch.randn(8, 1)

    def step(rate):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()

    for i in range(3):
        step(0.1 / (i + 1))
    before = programs.misses
    for i in range(10):
        step(0.01 / (i + 1))
    assert programs.misses == before


def test_an_error_in_one_operation_leaves_the_others():
    @operator(name="failing_test_operator", where=())
    class failing:
        def call(input):
            from suiren.dispatch import apply

            return apply(failing.operator, (input,))

        def infer(input):
            return input

        def evaluate(input):
            raise ValueError("as the test wants")

    x = torch.tensor([1.0, 2.0])
    before, broken = x * 2, failing(x)
    after, dependent = x * 3, broken + 1
    with pytest.raises(ValueError, match="as the test wants"):
        after.tolist()
    assert before.tolist() == [2.0, 4.0]
    assert after.tolist() == [3.0, 6.0]
    with pytest.raises(RuntimeError, match="failed earlier"):
        dependent.tolist()


def test_values_whose_program_could_not_be_run_say_so(monkeypatch):
    recorder = sys.modules["suiren.trace.recorder"]

    def broken(*arguments, **options):
        raise MemoryError

    x = torch.ones(3) + 1
    with monkeypatch.context() as patched:
        patched.setattr(recorder, "run_program", broken)
        with pytest.raises(MemoryError):
            x.tolist()
    for look in (lambda: x.tolist(), lambda: (torch.ones(3) * x).sum().item()):
        with pytest.raises(RuntimeError, match="failed earlier"):
            look()
    assert (torch.ones(3) + 2).tolist() == [3.0] * 3


def test_an_interrupt_completes_what_was_asked_for():
    @operator(name="interrupted_test_operator", where=())
    class interrupted:
        times = 0

        def call(input):
            from suiren.dispatch import apply

            return apply(interrupted.operator, (input,))

        def infer(input):
            return input

        def evaluate(input):
            calls.append(1)
            if len(calls) == 1:
                raise KeyboardInterrupt
            return input + 1

    calls = []
    x = torch.tensor([1.0])
    y = interrupted(x) * 2
    with pytest.raises(KeyboardInterrupt):
        y.tolist()
    assert y.tolist() == [4.0]


def test_another_thread_gets_the_value():
    x = torch.tensor([1.0, 2.0]) * 2
    found = []

    def work():
        found.append((x + 1).tolist())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[3.0, 5.0]]


def test_threads_record_side_by_side():
    shared = torch.tensor([1.0])
    wrong = []

    def work(number):
        x = shared * number
        for _ in range(300):
            x = x + shared
            if _ % 50 == 0 and x.item() != number + _ + 1:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_another_thread_s_value_is_computed_with_no_lock_held():
    """The lock of one trace was held while another was flushed: two threads could block."""
    trace, free = current_trace(), []

    class Elsewhere:  # stands for the trace of another thread
        def flush(self):
            def attempt():
                free.append(trace.lock.acquire(timeout=1))
                if free[-1]:
                    trace.lock.release()

            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join()
            foreign.buffer = np.ones(2, np.float32)

    foreign = Value(torch.ones(2)._meta, None, Elsewhere(), 0)
    total = new_tensor(foreign) + torch.ones(2)
    assert free == [True]
    assert total.tolist() == [2.0, 2.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_the_values():
    code = """if 1:
        import os, suiren as torch
        x = torch.tensor([1., 2.]) * 2
        child = os.fork()
        if not child:
            os._exit(0 if (x + 1).tolist() == [3., 5.] else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert x.tolist() == [2., 4.]
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_eager_and_check_switches():
    code = """if 1:
        import suiren as torch
        from suiren.tensor import new_tensor, value_of
        x = torch.tensor([1., 2.]) * 2
        assert value_of(x).buffer is not None
        w = torch.tensor([1., 2.], requires_grad=True)
        (w * w).sum().backward()
        assert w.grad.tolist() == [2., 4.]
    """
    environment = {**os.environ, "SUIREN_EAGER": "1", "SUIREN_CHECK": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


# ---- memory


def test_filling_by_index_writes_in_place():
    x = torch.zeros(1000)
    x[0] = 1
    x.sum().item()
    address = value_of(x).get().ctypes.data
    for i in range(20):
        x[i] = i
        x[i].item()
    assert value_of(x).get().ctypes.data == address
    assert x.sum().item() == sum(range(20))


def test_old_contents_that_somebody_holds_are_not_overwritten():
    x = torch.zeros(4)
    x.tolist()
    kept = x.clone()
    row = x[1:3]
    array = kept.numpy()
    x[1] = 5
    assert x.tolist() == [0, 5, 0, 0]
    assert kept.tolist() == [0, 0, 0, 0] and array.tolist() == [0, 0, 0, 0]
    assert row.tolist() == [5, 0]


def test_results_that_are_views_of_one_array_are_safe():
    x = torch.arange(6.0) + 0
    left, right = (x + 1).view(2, 3).clone(), (x + 1).view(3, 2).clone()
    left[0, 0] = 100
    right[0, 0] = 200
    assert left[0, 0].item() == 100 and right[0, 0].item() == 200
    assert x[0].item() == 0
    y = x + 1
    a = y.view(2, 3).clone()
    flush()
    a[0] = 7
    assert y.tolist() == [1, 2, 3, 4, 5, 6]


def test_numpy_memory_of_a_large_tensor_is_read_before_it_changes():
    array = np.ones(1_000_000, dtype=np.float32)
    t = torch.from_numpy(array)
    y = t + 1
    array += 1
    assert y[0].item() == 2
    assert (t + 1)[0].item() == 3


def test_what_ran_next_the_last_time_is_tried_first_and_only_if_it_fits():
    cache = type(programs)(limit=2)

    def get(name):
        return cache.get(((), (), tuple([ord(name)])))

    made = {x: get(x) for x in "ab"}
    for known in made.values():
        known.seen = 1  # the time of every sixteenth run is taken the long way
    for x in "abbaabab" * 5:
        assert get(x) is made[x]
    assert (cache.misses, cache.hits) == (2, 40)
    get("c")  # drops the older one, which must not come back nor keep others alive
    assert made["a"].found_by is None and made["a"].next is None
    get("b")
    assert get("a") is not made["a"]
    assert cache.misses == 4


@pytest.mark.parametrize("part", [
    lambda x, i: x.view(10, 6)[2 * i : 2 * i + 2],
    lambda x, i: x[:, i : i + 2],
    lambda x, i: x.T[i : i + 2].unsqueeze(0)[:, :, ::2],
    lambda x, i: x.unsqueeze(1).expand(5, 3, 12)[i],
    lambda x, i: x[..., i].T.reshape(-1),
])  # fmt: skip
def test_parts_of_computed_data_at_other_places_are_the_same_program(part):
    data = torch.arange(60.0).view(5, 12)
    array = data.numpy().copy()
    data = data.clone()
    data.tolist()

    def again(i):
        return (part(data, i) * 2 + 1).tolist()

    again(0)
    before = programs.misses
    found = [again(i) for i in range(1, 4)]
    assert programs.misses == before
    fresh = torch.tensor(array)
    assert found == [(part(fresh, i) * 2 + 1).tolist() for i in range(1, 4)]
    view = part(data, 1)
    view.tolist()
    data.mul_(3)  # a copy that was read is not what is seen after a write
    assert view.tolist() == part(torch.tensor(array * 3), 1).tolist()


def test_large_parts_that_do_not_lie_together_are_not_copied():
    data = torch.zeros(1000, 2000)
    data.tolist()
    assert pending(data[:, 1:])
    assert not pending(data[1:])
    assert not pending(data[:, 1:10])


def patience(size, elements):
    """How often a program of so many operations, each of so many elements, waits."""
    from suiren.trace.program import Program

    x = torch.zeros(elements)
    y = x
    for _ in range(size):
        y = y + x
    made = []
    original = programs._find
    programs._find = lambda key: made.append(Program(key)) or original(key)
    programs._last = None
    try:
        y.tolist()
    finally:
        del programs._find
    return made[-1].patience


def test_who_is_compiled_when():
    assert patience(8, 10) == 32  # small
    assert patience(8, 20_000) == 2
    assert patience(30, 10) == 2
    assert patience(200, 10) == 32  # long, over little data
    assert patience(200, 20_000) == 5
    assert patience(200, 100_000) == 2
