"""What holds for every test."""

import signal

import pytest

# Started in the background of a script, Python ignores Ctrl-C, and so do the programs it starts;
# the tests of interrupts need the usual answer.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def compiled_here(request):
    """Programs are made by the compiler under test, and none of a test's own stays on the disk."""
    if getattr(request.module, "PROGRAMS_FROM_DISK", False):
        yield
        return
    from compiling import off_the_disk

    with off_the_disk():
        yield


@pytest.fixture
def torch():
    """torch on one thread: its idle threads spin, which is slow where cores are few or busy."""
    torch_module = pytest.importorskip("torch")
    threads = torch_module.get_num_threads()
    torch_module.set_num_threads(1)
    yield torch_module
    torch_module.set_num_threads(threads)
