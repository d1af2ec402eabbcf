"""Recurrent networks, as loops over the time steps and as layers: the first steps and steady ones.

The loops are language models over characters as 动手学深度学习 (d2l.ai) writes them: one-hot
characters, 35 time steps, batches of 32, 256 hidden units, the hidden state carried over and
detached, clipped gradients, SGD. Unrolled they are programs of some hundred to thousands of
operations, so that what is compiled matters as much as how fast it runs.

    python benchmarks/recurrent.py                beside PyTorch's eager mode
    python benchmarks/recurrent.py --alone        processor seconds on one thread, for busy machines
    python benchmarks/recurrent.py --cached       with programs found on disk

Rows: the time from the first step to the tenth and to the hundredth with an empty cache on disk
(``--cached``: with what another process left there), and of a steady step. ``ONLY=GRU`` in the
environment runs the cases whose names hold this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sidebyside import main

WORDS, STEPS, BATCH, HIDDEN, RATE = 28, 35, 32, 256, 1.0


def _parameters(torch, gates: int):
    """Weights of so many gates, then those of the output layer."""

    def normal(*shape):
        return torch.randn(*shape) * 0.01

    found = []
    for _ in range(gates):
        found += [normal(WORDS, HIDDEN), normal(HIDDEN, HIDDEN), torch.zeros(HIDDEN)]
    found += [normal(HIDDEN, WORDS), torch.zeros(WORDS)]
    return [parameter.requires_grad_(True) for parameter in found]


def _rnn(torch, inputs, state, parameters):
    w_xh, w_hh, b_h, w_hq, b_q = parameters
    (h,) = state
    outputs = []
    for x in inputs:
        h = torch.tanh(torch.mm(x, w_xh) + torch.mm(h, w_hh) + b_h)
        outputs.append(torch.mm(h, w_hq) + b_q)
    return torch.cat(outputs, dim=0), (h,)


def _gru(torch, inputs, state, parameters):
    w_xz, w_hz, b_z, w_xr, w_hr, b_r, w_xh, w_hh, b_h, w_hq, b_q = parameters
    (h,) = state
    outputs = []
    for x in inputs:
        z = torch.sigmoid((x @ w_xz) + (h @ w_hz) + b_z)
        r = torch.sigmoid((x @ w_xr) + (h @ w_hr) + b_r)
        candidate = torch.tanh((x @ w_xh) + ((r * h) @ w_hh) + b_h)
        h = z * h + (1 - z) * candidate
        outputs.append(h @ w_hq + b_q)
    return torch.cat(outputs, dim=0), (h,)


def _lstm(torch, inputs, state, parameters):
    (w_xi, w_hi, b_i, w_xf, w_hf, b_f, w_xo, w_ho, b_o, w_xc, w_hc, b_c, w_hq, b_q) = parameters
    (h, c) = state
    outputs = []
    for x in inputs:
        i = torch.sigmoid((x @ w_xi) + (h @ w_hi) + b_i)
        f = torch.sigmoid((x @ w_xf) + (h @ w_hf) + b_f)
        o = torch.sigmoid((x @ w_xo) + (h @ w_ho) + b_o)
        candidate = torch.tanh((x @ w_xc) + (h @ w_hc) + b_c)
        c = f * c + i * candidate
        h = o * torch.tanh(c)
        outputs.append((h @ w_hq) + b_q)
    return torch.cat(outputs, dim=0), (h, c)


def _scratch(torch, forward, gates: int, states: int, lengths=(STEPS,)):
    """Training of a model in a loop; the batches are of these lengths in turn."""
    torch.manual_seed(0)
    parameters = _parameters(torch, gates)
    data = [torch.randint(0, WORDS, (BATCH, length + 1)) for length in lengths]
    loss_of = torch.nn.CrossEntropyLoss()
    carried: list = []

    def step(i: int) -> float:
        batch = data[i % len(data)]
        x, y = batch[:, :-1], batch[:, 1:].T.reshape(-1)
        if carried:
            for state in carried:
                state.detach_()
        else:
            carried[:] = [torch.zeros(BATCH, HIDDEN) for _ in range(states)]
        one_hot = torch.nn.functional.one_hot(x.T, WORDS).type(torch.float32)
        outputs, carried[:] = forward(torch, one_hot, carried, parameters)
        loss = loss_of(outputs, y).mean()
        loss.backward()
        norm = torch.sqrt(sum(torch.sum(p.grad**2) for p in parameters))
        if norm > 1:
            for parameter in parameters:
                parameter.grad[:] *= 1 / norm
        with torch.no_grad():
            for parameter in parameters:
                parameter -= RATE * parameter.grad
                parameter.grad.zero_()
        return float(loss)

    return step


def _layer(torch, kind: str):
    """The same with a layer: the loop over the steps is inside of the library."""
    torch.manual_seed(0)
    layer, head = getattr(torch.nn, kind)(WORDS, HIDDEN), torch.nn.Linear(HIDDEN, WORDS)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=RATE)
    loss_of = torch.nn.CrossEntropyLoss()
    data = torch.randint(0, WORDS, (BATCH, STEPS + 1))
    carried = None
    detached = {"LSTM": lambda states: tuple(s.detach() for s in states)}.get(
        kind, lambda state: state.detach()
    )

    def step(i: int) -> float:
        nonlocal carried
        x, y = data[:, :-1], data[:, 1:].T.reshape(-1)
        one_hot = torch.nn.functional.one_hot(x.T, WORDS).type(torch.float32)
        outputs, carried = layer(one_hot, carried)
        loss = loss_of(head(outputs.reshape(-1, HIDDEN)), y).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1)
        optimizer.step()
        carried = detached(carried)
        return float(loss)

    return step


def _attention(torch, words: int = 200, width: int = 128, steps: int = 10, batch: int = 64):
    """A decoder with Bahdanau's attention, a step at a time, behind a GRU as the encoder."""
    torch.manual_seed(0)
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.after = nn.Embedding(words, width), nn.Embedding(words, width)
            self.encoder = nn.GRU(width, width, 2)
            self.decoder = nn.GRU(2 * width, width, 2)
            self.query = nn.Linear(width, width, bias=False)
            self.key = nn.Linear(width, width, bias=False)
            self.score = nn.Linear(width, 1, bias=False)
            self.head = nn.Linear(width, words)

        def forward(self, source, lengths, target):
            seen, state = self.encoder(self.before(source).permute(1, 0, 2))
            seen = seen.permute(1, 0, 2)
            hidden = torch.arange(steps)[None, :] >= lengths[:, None]
            outputs = []
            for x in self.after(target).permute(1, 0, 2):
                query = state[-1].unsqueeze(1)
                features = torch.tanh(self.query(query).unsqueeze(2) + self.key(seen).unsqueeze(1))
                scores = self.score(features).squeeze(-1).masked_fill(hidden[:, None], -1e6)
                context = torch.bmm(torch.softmax(scores, dim=-1), seen)
                x = torch.cat((context, x.unsqueeze(1)), dim=-1)
                out, state = self.decoder(x.permute(1, 0, 2), state)
                outputs.append(out)
            return self.head(torch.cat(outputs, dim=0)).permute(1, 0, 2)

    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    source, target = (torch.randint(0, words, (batch, steps)) for _ in range(2))
    lengths = torch.randint(2, steps + 1, (batch,))

    def step(i: int) -> float:
        optimizer.zero_grad()
        out = model(source, lengths, target)
        loss = nn.functional.cross_entropy(out.permute(0, 2, 1), target, reduction="none")
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
        return float(loss.sum())

    return step


CASES = {
    "RNN from scratch": lambda torch: _scratch(torch, _rnn, 1, 1),
    "GRU from scratch": lambda torch: _scratch(torch, _gru, 3, 1),
    "LSTM from scratch": lambda torch: _scratch(torch, _lstm, 4, 2),
    "RNN from scratch, 2 lengths": lambda torch: _scratch(torch, _rnn, 1, 1, (35, 35, 35, 20)),
    "nn.RNN": lambda torch: _layer(torch, "RNN"),
    "nn.GRU": lambda torch: _layer(torch, "GRU"),
    "nn.LSTM": lambda torch: _layer(torch, "LSTM"),
    "seq2seq, attention": _attention,
}

SCRIPT = """
import importlib, json, sys, time
sys.path.insert(0, {folder!r})
torch = importlib.import_module({library!r})
import recurrent
print(json.dumps(recurrent.times(torch, {case!r}, time.{clock}, {count})))
"""


def times(torch, case: str, clock, count: int) -> tuple[float, float, float]:
    """Seconds to the tenth step, to the last, and the median of the last half."""
    step = CASES[case](torch)
    ends = [clock()]
    for i in range(count):
        step(i)
        ends.append(clock())
    last = sorted(b - a for a, b in zip(ends[count // 2 :], ends[count // 2 + 1 :], strict=False))
    return ends[min(10, count)] - ends[0], ends[-1] - ends[0], last[len(last) // 2]


def work(torch, smoke: bool, alone: bool, cached: bool) -> dict[str, float]:
    """Seconds for the three rows of each case, each case in a process of its own."""
    found = {}
    count = 2 if smoke else 100
    limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} if alone else {}
    only = os.environ.get("ONLY", "")
    for case in [name for name in CASES if only in name][: 1 if smoke else None]:
        script = SCRIPT.format(
            folder=str(Path(__file__).parent), library=torch.__name__, case=case, count=count,
            clock="process_time" if alone else "perf_counter",
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, **limits, "SUIREN_CACHE_DIR": folder}
            for _ in range(2 if cached and torch.__name__ == "suiren" else 1):
                result = subprocess.run(
                    [sys.executable, "-c", script], env=environment, check=True,
                    capture_output=True, text=True,
                )  # fmt: skip
        first, all_, steady = json.loads(result.stdout)
        found[f"{case}, to step 10"] = first
        found[f"{case}, to step {count}"] = all_
        found[f"{case}, a step"] = steady
    return found


if __name__ == "__main__":
    main(
        work, unit="ms", rounds=3,
        alone="processor time on one thread", cached="with programs found on disk",
    )  # fmt: skip
