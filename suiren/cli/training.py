"""The training loop, with everything it needs to stop after an epoch and go on bit for bit.

One stream of random numbers, PyTorch's default generator seeded once, gives initial weights,
shuffles and dropout. Its state is kept with the weights and the optimizer's state after every
epoch, so a resumed run draws what the uninterrupted one would have drawn.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import suiren as torch
from suiren.cli import networks, runfolder
from suiren.cli.batches import Batches
from suiren.cli.errors import CommandError
from suiren.cli.networks import make_model
from suiren.cli.progress import Reporter
from suiren.cli.runfolder import KEYPOINTS, Epoch, RunConfig
from suiren.tensor import Tensor
from suiren.trace.program import compiled_at_once
from suiren.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

TEST_BATCH = 256
TEST_PIXELS = 1 << 21  # of a batch to test on: large images come in smaller batches


class Standardize:
    """Bytes (N, C, S, S) to float32 of mean 0 and deviation 1 in each channel.

    A model that takes colour gets a grey image three times: (N, 3, S, S).
    """

    def __init__(self, config: RunConfig) -> None:
        self.mean = torch.tensor(config.mean).view(1, -1, 1, 1) * 255  # 1, C, 1, 1
        self.scale = 1 / (torch.tensor(config.std).view(1, -1, 1, 1) * 255)  # 1, C, 1, 1

    def __call__(self, images: Tensor) -> Tensor:
        # Grey images with colour's means: broadcasting makes three channels of one.
        return (images.to(torch.float32) - self.mean) * self.scale


@dataclass
class Job:
    """A run in progress: its folder, its data, and the state that training changes."""

    folder: Path
    config: RunConfig
    train_data: Batches
    test_data: Batches
    model: Any
    optimizer: Any
    history: list[Epoch]
    note: str = ""
    workers: int = 0
    saving_seconds: float = 0.0

    @classmethod
    def begin(
        cls,
        make_folder: Callable[[], Path],
        config: RunConfig,
        train_data: Batches,
        test_data: Batches,
    ) -> "Job":
        """A run at its beginning, saved as epoch 0 so that it can be resumed from there on.

        The folder is made when all that can go wrong before has gone right.
        """
        torch.manual_seed(config.seed)
        model = make_model(config)
        note = ""
        if config.pretrained is not None:
            taken, last = networks.begin_from(model, config, Path(config.pretrained))
            note = f"{taken} tensors from {config.pretrained}; {last} begins anew"
        if config.freeze:
            networks.freeze_backbone(model, networks.outputs(config))
        optimizer = networks.make_optimizer(model, config)
        folder = make_folder()
        job = cls(folder, config, train_data, test_data, model, optimizer, [], note)
        runfolder.write_config(folder, config)
        job.save()
        return job

    @classmethod
    def resume(
        cls, folder: Path, config: RunConfig, train_data: Batches, test_data: Batches
    ) -> "Job":
        """The run in `folder` as its last complete epoch left it."""
        checkpoint = runfolder.read_checkpoint(folder)
        history = runfolder.read_metrics(folder, checkpoint["epoch"])
        model = make_model(config)
        if config.freeze:
            networks.freeze_backbone(model, networks.outputs(config))
        optimizer = networks.make_optimizer(model, config)
        runfolder.load_into(model, checkpoint["model"], folder)
        runfolder.load_into(optimizer, checkpoint["optimizer"], folder)
        try:
            torch.set_rng_state(checkpoint["random_state"])
        except (RuntimeError, TypeError, ValueError) as error:
            damaged = f"{folder / runfolder.MODEL} is damaged: its 'random_state' is not one"
            raise CommandError(damaged) from error
        return cls(folder, config, train_data, test_data, model, optimizer, history)

    def save(self) -> None:
        """Keep this state: metrics first, then model.pt, which makes the epoch count."""
        begin = perf_counter()
        runfolder.write_metrics(self.folder, self.history, self.config.task)
        checkpoint = {
            "format": runfolder.FORMAT,
            "epoch": len(self.history),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random_state": torch.get_rng_state(),
        }
        runfolder.write_checkpoint(self.folder, checkpoint)
        self.saving_seconds += perf_counter() - begin


def train(job: Job, reporter: Reporter, check: Callable[[], None]) -> None:
    """Train from the job's last epoch to the configured number, one printed line an epoch.

    `check` is called after every batch and raises to stop; the last complete epoch is then what
    the folder holds.

    Raises:
        CommandError: the loss or a weight is no longer finite.
    """
    total = job.config.epochs
    prepare = Standardize(job.config)
    points = job.config.task == KEYPOINTS
    for number in range(len(job.history) + 1, total + 1):
        begin = perf_counter()
        title = f"epoch {number:>{len(str(total))}}/{total}"
        reporter.start(title, len(job.train_data))
        # A resumed run must not begin with the interpreter, whose sums may differ in the last bit.
        with compiled_at_once():
            loss, train_score, data_seconds = _train_epoch(job, prepare, number, reporter, check)
        trained = perf_counter()
        speed = len(job.train_data) / (trained - begin)
        reporter.start("testing", len(job.test_data))
        with compiled_at_once():
            outputs = evaluate(job.model, job.test_data, prepare, check, reporter.advance)
        test_loss, test_score = score(outputs, job.test_data.labels)
        end = perf_counter()
        epoch = Epoch(
            number, loss, train_score, test_score, end - begin, test_loss,
            job.optimizer.param_groups[0]["lr"], data_seconds,
            trained - begin - data_seconds, end - trained,
        )  # fmt: skip
        job.history.append(epoch)
        job.save()
        train_text, test_text = (
            (f"{100 * train_score:.2f}%", f"{100 * test_score:.2f}%")
            if points
            else (f"{train_score:.4f}", f"{test_score:.4f}")
        )
        reporter.line(
            f"{title}  loss {loss:.4f}  train {train_text}  test {test_text}  {speed:.0f} images/s"
        )


def _train_epoch(
    job: Job, prepare: Standardize, number: int, reporter: Reporter, check: Callable[[], None]
) -> tuple[float, float, float]:
    """Mean loss and score over the epoch, both as the weights were at each batch, and the seconds
    spent waiting for images."""
    config, data = job.config, job.train_data
    data.epoch = number
    sampler = BatchSampler(RandomSampler(data), config.batch_size, drop_last=False)
    # One index operation fetches a whole batch, which is much faster than collating images.
    loader: DataLoader = DataLoader(
        data, sampler=sampler, batch_size=None, num_workers=job.workers
    )
    networks.training_mode(job.model, config)
    steps = len(sampler) * config.epochs
    step = len(sampler) * (number - 1)
    rates = [group.get("initial_lr", group["lr"]) for group in job.optimizer.param_groups]
    loss_sum, score_sum, done, waited = 0.0, 0.0, 0, 0.0
    batches = iter(loader)
    while True:
        asked = perf_counter()
        batch = next(batches, None)
        waited += perf_counter() - asked
        if batch is None:
            break
        images, labels = batch
        _set_rates(job, rates, step, steps)
        # Batch norm has no deviation over one value: a last batch of one image is left out.
        if len(labels) == 1 < config.batch_size and done and _has_batch_norm(job.model):
            continue
        outputs = job.model(prepare(images))  # N, K or N, 2P
        loss = loss_of(outputs, labels)
        job.optimizer.zero_grad()
        loss.backward()
        job.optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise CommandError(_diverged(job, f"the loss became {value}", number))
        loss_sum += value * len(labels)
        score_sum += _score_sum(outputs, labels)
        done += len(labels)
        step += 1
        reporter.advance(done, f"loss {loss_sum / done:.4f}")
        check()
    if not all(torch.isfinite(weights).all().item() for weights in job.model.parameters()):
        raise CommandError(_diverged(job, "a weight became infinite", number))
    return loss_sum / done, score_sum / done, waited


def _set_rates(job: Job, rates: list[float], step: int, steps: int) -> None:
    """Set the learning rates of this step; the run's own are kept beside as `initial_lr`."""
    if job.config.schedule == "none":
        return
    factor = networks.rate_factor(job.config, step, steps)
    for group, rate in zip(job.optimizer.param_groups, rates, strict=True):
        group["initial_lr"] = rate
        group["lr"] = rate * factor


def _has_batch_norm(model: Any) -> bool:
    return any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules())


def loss_of(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of logits (N, K) and classes (N,), or for points (N, P, 2) the mean square of
    the distances from the outputs (N, 2P), which count from -1 to 1 across the image."""
    if labels.dim() == 1:
        return torch.nn.functional.cross_entropy(outputs, labels)
    known = ~labels.isnan()
    wanted = torch.where(known, 2 * labels - 1, 0.0)  # N, P, 2
    squares = torch.where(known, (outputs.view(labels.shape) - wanted) ** 2, 0.0)
    return squares.sum() / known.sum().clamp(min=1)


def points_of(outputs: np.ndarray) -> np.ndarray:
    """What a network for points gives, (N, 2P), as shares of width and height: (N, P, 2)."""
    return (outputs.reshape(len(outputs), -1, 2) + 1) / 2


def distances(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far each point is from the true one, (N, P), as a share of the side; NaN if unknown."""
    return np.sqrt(((points_of(outputs) - labels) ** 2).sum(2))


def _score_sum(outputs: Tensor, labels: Tensor) -> float:
    if labels.dim() == 1:
        return int((outputs.argmax(1) == labels).sum().item())
    return _mean_distance(outputs.detach().numpy(), labels.numpy()) * len(labels)


def _mean_distance(outputs: np.ndarray, labels: np.ndarray) -> float:
    found = distances(outputs, labels)
    known = ~np.isnan(found)
    return float(found[known].mean()) if known.any() else 0.0


def score(outputs: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Loss, and accuracy or mean distance, of outputs (N, K) or (N, 2P) over all images."""
    loss = float(loss_of(torch.from_numpy(outputs), torch.from_numpy(labels)).item())
    if labels.ndim == 1:
        return loss, float((outputs.argmax(1) == labels).mean())
    return loss, _mean_distance(outputs, labels)


def _diverged(job: Job, what: str, number: int) -> str:
    kept = f"epoch {number - 1} is kept" if number > 1 else "no epoch was complete"
    return (
        f"{what} in epoch {number}, so training stopped ({kept} in {job.folder}); "
        f"try a --lr below {job.config.lr:g}"
    )


def evaluate(
    model: Any,
    data: Batches,
    prepare: Standardize,
    check: Callable[[], None],
    advance: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """What the model gives for each image, float32 (N, K) or (N, 2P)."""
    size = max(1, min(TEST_BATCH, TEST_PIXELS // data.images[0].size))
    sampler = BatchSampler(SequentialSampler(data), size, drop_last=False)
    model.eval()
    parts: list[np.ndarray] = []
    done = 0
    with torch.no_grad():
        for images, _ in DataLoader(data, sampler=sampler, batch_size=None):
            parts.append(model(prepare(images)).numpy())
            done += len(parts[-1])
            advance(done)
            check()
    return np.concatenate(parts)
