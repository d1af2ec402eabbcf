"""Training steps of whole models: when they are computed, that they repeat, what they hold.

A step is one program for forward and backward together and one for the optimizer. From the third
step on nothing is new to the program cache. Nothing is kept from step to step.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import suiren
from suiren import nn, optim
from suiren.optim import lr_scheduler
from suiren.utils.data import DataLoader, TensorDataset

# torch.trace, the sum of a diagonal, hides the package of that name from `import a.b as c`.
recorder = sys.modules["suiren.trace.recorder"]
programs = sys.modules["suiren.trace.program"].programs


@pytest.fixture
def flushes(monkeypatch):
    """A list that grows by one entry with every program that runs."""
    ran = []
    run = recorder.run_program

    def counted(*args, **kwargs):
        ran.append(None)
        return run(*args, **kwargs)

    monkeypatch.setattr(recorder, "run_program", counted)
    return ran


def mlp():
    return nn.Sequential(
        nn.Linear(20, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 10)
    )


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout2d(0.1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 10),
    )  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 8)
        self.lstm = nn.LSTM(8, 6, num_layers=2, dropout=0.1, batch_first=True)
        self.last = nn.Linear(6, 10)

    def forward(self, words):
        return self.last(self.lstm(self.table(words))[0][:, -1])


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.last = nn.Linear(8, 10)

    def forward(self, words):
        return self.last(self.layer(self.table(words)).mean(1))


def vectors():
    return suiren.randn(8, 20)


def images():
    return suiren.randn(4, 1, 8, 8)


def words():
    return suiren.randint(0, 30, (4, 5))


CASES = [
    ("SGD", dict(lr=0.1), lambda o: lr_scheduler.StepLR(o, 2), mlp, vectors),
    ("SGD", dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
     lambda o: lr_scheduler.CosineAnnealingLR(o, 10), cnn, images),
    ("Adam", {}, lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20), cnn, images),
    ("AdamW", dict(amsgrad=True), lambda o: lr_scheduler.LinearLR(o), mlp, vectors),
    ("AdamW", {}, lambda o: lr_scheduler.ExponentialLR(o, 0.9), Attentive, words),
    ("RMSprop", dict(momentum=0.5, centered=True), lambda o: lr_scheduler.StepLR(o, 3), Recurrent,
     words),
    *[(name, {}, lambda o: lr_scheduler.ExponentialLR(o, 0.9), mlp, vectors)
      for name in ("Adadelta", "Adafactor", "Adagrad", "Adamax", "ASGD", "NAdam", "Rprop")],
]  # fmt: skip


@pytest.mark.parametrize(
    "name, options, schedule, build, inputs", CASES, ids=[f"{c[0]}-{c[3].__name__}" for c in CASES]
)
def test_a_step_is_two_programs_that_repeat(name, options, schedule, build, inputs, flushes):
    suiren.manual_seed(0)
    model = build()
    optimizer = getattr(optim, name)(model.parameters(), **options)
    scheduler = schedule(optimizer)
    for step in range(6):
        x = inputs()
        y = suiren.randint(0, 10, (len(x),))
        if step == 2:
            known = programs.misses
        del flushes[:]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        assert len(flushes) == 0
        loss.backward()
        assert len(flushes) == 1
        optimizer.step()
        assert len(flushes) == 2
        scheduler.step()
        assert len(flushes) == 2
    assert programs.misses == known


def test_batches_of_a_loader_repeat_too():
    data = TensorDataset(vectors(), suiren.randint(0, 10, (8,)))
    model = mlp()
    optimizer = optim.Adam(model.parameters())
    misses = []
    for _ in range(4):
        for x, y in DataLoader(data, batch_size=4, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            misses.append(programs.misses)
    assert misses[2] == misses[-1]


def test_which_rows_a_step_takes_makes_no_new_program():
    x, y = suiren.randn(40, 20), suiren.arange(40) % 10
    x.sum().item()
    y.sum().item()
    model = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    misses = []
    for start in range(0, 40, 8):
        rows = slice(start, start + 8)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        misses.append(programs.misses)
    assert misses[1] == misses[-1]
    known = []
    for i in range(5):
        suiren.stack([x[i], x[i + 3]]).sum().item()
        known.append(programs.misses)
    assert known[0] == known[-1]


def test_rows_looked_at_keep_what_they_showed():
    x = suiren.arange(6.0).reshape(3, 2)
    x.sum().item()
    row = x[1]
    doubled, kept = row * 2, row.clone()
    x[1] = 7.0
    x.mul_(10)
    assert (doubled.tolist(), kept.tolist(), row.tolist()) == ([4.0, 6.0], [2.0, 3.0], [70.0, 70.0])
    x.numpy()[1] = 5.0
    assert row.tolist() == [5.0, 5.0]


def test_batch_norm_counts_its_batches_within_the_step(flushes):
    layer = nn.BatchNorm1d(3)
    for _ in range(4):
        layer(suiren.ones(2, 3, requires_grad=True)).sum().backward()
    assert len(flushes) == 4
    assert layer.num_batches_tracked.item() == 4


def test_a_model_without_gradients_is_one_program(flushes):
    model = cnn().eval()
    x = images()
    del flushes[:]
    with suiren.no_grad():
        result = model(x)
    assert len(flushes) == 1
    result.sum().item()
    assert len(flushes) == 2


def test_nothing_stays_behind_a_step():
    """Neither the graph nor the trace has cycles: without the collector nothing piles up."""
    model = cnn()
    optimizer = optim.Adam(model.parameters())
    counts = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(60):  # the last program is compiled at its 32nd sight
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images()), suiren.arange(4))
            loss.backward()
            optimizer.step()
            loss.item()
            del loss
            counts.append(len(gc.get_objects()))
    finally:
        gc.enable()
    assert counts[-1] <= counts[40] + 2


def test_losses_have_the_same_bits_with_any_number_of_threads():
    # a short run of benchmarks/same_bits.py: 1, 2 and 3 threads, in processes of their own
    script = Path(__file__).parent.parent / "benchmarks" / "same_bits.py"
    environment = {**os.environ, "PYTHONPATH": str(script.parent.parent), "SUIREN_JIT": "1"}
    done = subprocess.run(
        [sys.executable, str(script), "--smoke"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the same bits") == 2
