"""`torch.utils.tensorboard`: SummaryWriter, by way of the package tensorboardX.

Source: PyTorch's torch.utils.tensorboard page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["SummaryWriter"]


def _tensorboardx() -> Any:
    try:
        import tensorboardX
    except ModuleNotFoundError as error:
        if error.name != "tensorboardX":
            raise
        raise ModuleNotFoundError(
            "torch.utils.tensorboard needs the package tensorboardX: "
            "pip install 'suiren[tensorboard]'",
            name="tensorboardX",
        ) from None
    return tensorboardX


def _plain(value: Any) -> Any:
    """Tensors as arrays, also inside lists and dictionaries: tensorboardX knows no others."""
    from suiren.tensor import Tensor

    if isinstance(value, Tensor):
        value = value.detach()
        return value.item() if value.dim() == 0 else value.numpy(force=True)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


class SummaryWriter:
    """Writes files for TensorBoard into ``log_dir`` (runs/DATE_HOST if None).

    Raises ModuleNotFoundError where tensorboardX is missing, and names the extra to install.
    Source: torch.utils.tensorboard.writer.SummaryWriter.
    """

    def __init__(
        self,
        log_dir: Any = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        self._writer = _tensorboardx().SummaryWriter(
            None if log_dir is None else str(log_dir), comment=comment, purge_step=purge_step,
            max_queue=max_queue, flush_secs=flush_secs, filename_suffix=filename_suffix,
        )  # fmt: skip
        self.log_dir = str(Path(self._writer.logdir))

    def get_logdir(self) -> str:
        """The folder that is written to."""
        return self.log_dir

    def add_graph(self, model: Any, *args: Any, **kwargs: Any) -> None:
        """Raises NotImplementedError: graphs of modules are not drawn."""
        raise NotImplementedError(
            "SummaryWriter.add_graph: Suiren does not draw graphs for TensorBoard; "
            "`suiren summary` lists a model's layers"
        )

    def __getattr__(self, name: str) -> Any:
        if name == "_writer":
            raise AttributeError(name)
        found = getattr(self._writer, name)
        if not callable(found) or not name.startswith("add_"):
            return found

        def add(*args: Any, **kwargs: Any) -> Any:
            return found(*map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()})

        return add

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._writer.close()
