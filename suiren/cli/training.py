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
from suiren.cli import options, runfolder
from suiren.cli.errors import CommandError
from suiren.cli.progress import Reporter
from suiren.cli.runfolder import Epoch, RunConfig
from suiren.tensor import Tensor
from suiren.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)
from suiren.vision.models import get_model

TEST_BATCH = 256


def make_model(config: RunConfig) -> Any:
    """The run's model with freshly drawn weights."""
    return get_model(
        config.model,
        channels=config.channels,
        image_size=config.image_size,
        num_classes=len(config.classes),
    )


class Standardize:
    """Bytes (N, C, S, S) to float32 of mean 0 and deviation 1 in each channel."""

    def __init__(self, config: RunConfig) -> None:
        self.mean = torch.tensor(config.mean).view(1, -1, 1, 1) * 255  # 1, C, 1, 1
        self.scale = 1 / (torch.tensor(config.std).view(1, -1, 1, 1) * 255)  # 1, C, 1, 1

    def __call__(self, images: Tensor) -> Tensor:
        return (images.to(torch.float32) - self.mean) * self.scale


@dataclass
class Job:
    """A run in progress: its folder, its data, and the state that training changes."""

    folder: Path
    config: RunConfig
    train_data: TensorDataset
    test_data: TensorDataset
    model: Any
    optimizer: Any
    history: list[Epoch]

    @classmethod
    def begin(
        cls, folder: Path, config: RunConfig, train_data: TensorDataset, test_data: TensorDataset
    ) -> "Job":
        """A run at its beginning, saved as epoch 0 so that it can be resumed from there on."""
        torch.manual_seed(config.seed)
        model = make_model(config)
        optimizer = options.make_optimizer(config.optimizer, model.parameters(), config.lr)
        job = cls(folder, config, train_data, test_data, model, optimizer, [])
        runfolder.write_config(folder, config)
        job.save()
        return job

    @classmethod
    def resume(
        cls, folder: Path, config: RunConfig, train_data: TensorDataset, test_data: TensorDataset
    ) -> "Job":
        """The run in `folder` as its last complete epoch left it."""
        checkpoint = runfolder.read_checkpoint(folder)
        history = runfolder.read_metrics(folder, checkpoint["epoch"])
        model = make_model(config)
        optimizer = options.make_optimizer(config.optimizer, model.parameters(), config.lr)
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
        runfolder.write_metrics(self.folder, self.history)
        checkpoint = {
            "format": runfolder.FORMAT,
            "epoch": len(self.history),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random_state": torch.get_rng_state(),
        }
        runfolder.write_checkpoint(self.folder, checkpoint)


def train(job: Job, reporter: Reporter, check: Callable[[], None]) -> None:
    """Train from the job's last epoch to the configured number, one printed line an epoch.

    `check` is called after every batch and raises to stop; the last complete epoch is then what
    the folder holds.

    Raises:
        CommandError: the loss or a weight is no longer finite.
    """
    total = job.config.epochs
    prepare = Standardize(job.config)
    for number in range(len(job.history) + 1, total + 1):
        begin = perf_counter()
        title = f"epoch {number:>{len(str(total))}}/{total}"
        reporter.start(title, len(job.train_data))
        loss, train_accuracy = _train_epoch(job, prepare, number, reporter, check)
        speed = len(job.train_data) / (perf_counter() - begin)
        predicted = predict_classes(job.model, job.test_data, prepare, check)
        labels = job.test_data.tensors[1].numpy()
        test_accuracy = float((predicted == labels).mean())
        seconds = perf_counter() - begin
        job.history.append(Epoch(number, loss, train_accuracy, test_accuracy, seconds))
        job.save()
        reporter.line(
            f"{title}  loss {loss:.4f}  train {train_accuracy:.4f}  test {test_accuracy:.4f}  "
            f"{speed:.0f} images/s"
        )


def _train_epoch(
    job: Job, prepare: Standardize, number: int, reporter: Reporter, check: Callable[[], None]
) -> tuple[float, float]:
    """Mean loss and accuracy over the epoch, both as the weights were at each batch."""
    sampler = BatchSampler(RandomSampler(job.train_data), job.config.batch_size, drop_last=False)
    # One index operation fetches a whole batch, which is much faster than collating images.
    loader: DataLoader = DataLoader(job.train_data, sampler=sampler, batch_size=None)
    job.model.train()
    loss_sum, hits, done = 0.0, 0, 0
    for images, labels in loader:
        logits = job.model(prepare(images))  # N, K
        loss = torch.nn.functional.cross_entropy(logits, labels)
        job.optimizer.zero_grad()
        loss.backward()
        job.optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise CommandError(_diverged(job, f"the loss became {value}", number))
        loss_sum += value * len(labels)
        hits += int((logits.argmax(1) == labels).sum().item())
        done += len(labels)
        reporter.advance(done, f"loss {loss_sum / done:.4f}")
        check()
    if not all(torch.isfinite(weights).all().item() for weights in job.model.parameters()):
        raise CommandError(_diverged(job, "a weight became infinite", number))
    return loss_sum / done, hits / done


def _diverged(job: Job, what: str, number: int) -> str:
    kept = f"epoch {number - 1} is kept" if number > 1 else "no epoch was complete"
    return (
        f"{what} in epoch {number}, so training stopped ({kept} in {job.folder}); "
        f"try a --lr below {job.config.lr:g}"
    )


def predict_classes(
    model: Any, data: TensorDataset, prepare: Standardize, check: Callable[[], None]
) -> np.ndarray:
    """The class number that the model gives to each image, int64 (N,)."""
    sampler = BatchSampler(SequentialSampler(data), TEST_BATCH, drop_last=False)
    model.eval()
    parts = []
    with torch.no_grad():
        for images, _ in DataLoader(data, sampler=sampler, batch_size=None):
            parts.append(model(prepare(images)).argmax(1).numpy())
            check()
    return np.concatenate(parts)
