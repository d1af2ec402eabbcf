"""Cost of recording one operation on small tensors, without and with gradients.

For Suiren this is the Python path from the call to the entry in the trace (nothing is computed
meanwhile: the trace is dropped between batches, outside the clock). PyTorch computes at once; its
figure includes computing three numbers, which is little beside its dispatch.
"""

from __future__ import annotations

import time

from sidebyside import main


def work(torch, smoke: bool) -> dict[str, float]:
    """Seconds per call for some operations."""
    drop = lambda: None  # noqa: E731
    if torch.__name__ == "suiren":
        from suiren.trace import current_trace

        drop = lambda: current_trace()._clear()  # noqa: E731

    def measure(call) -> float:
        best = float("inf")
        for _ in range(3 if smoke else 20):
            started = time.perf_counter()
            for _ in range(1000):
                call()
            best = min(best, (time.perf_counter() - started) / 1000)
            drop()
        return best

    found = {}
    for gradients in (False, True):
        a = torch.tensor([1.0, 2.0, 3.0], requires_grad=gradients)
        b = torch.tensor([4.0, 5.0, 6.0])
        m = torch.tensor([[1.0, 2.0, 3.0]] * 3, requires_grad=gradients)
        calls = {
            "a + b": lambda a=a, b=b: a + b,
            "a * b": lambda a=a, b=b: a * b,
            "a * 2.0": lambda a=a: a * 2.0,
            "a.exp()": lambda a=a: a.exp(),
            "a.sum()": lambda a=a: a.sum(),
            "a.view(3, 1)": lambda a=a: a.view(3, 1),
            "m @ m": lambda m=m: m @ m,
        }
        for name, call in calls.items():
            found[name + (", with gradients" if gradients else "")] = measure(call)
    return found


if __name__ == "__main__":
    main(work)
