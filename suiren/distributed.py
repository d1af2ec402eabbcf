"""`torch.distributed`: not available, and says so. Source: PyTorch's torch.distributed page."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = [
    "destroy_process_group", "get_backend", "get_rank", "get_world_size", "init_process_group",
    "is_available", "is_gloo_available", "is_initialized", "is_mpi_available",
    "is_nccl_available", "is_torchelastic_launched",
]  # fmt: skip


def is_available() -> bool:
    """False: there is one process. Source: torch.distributed.is_available."""
    return False


is_initialized = is_mpi_available = is_nccl_available = is_gloo_available = is_available
is_torchelastic_launched = is_available


def init_process_group(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises NotImplementedError."""
    raise NotImplementedError(
        "torch.distributed.init_process_group: Suiren trains in one process; ask "
        "torch.distributed.is_available() first, or leave the process group out"
    )


def _absent(name: str) -> Any:
    def raises(*args: Any, **kwargs: Any) -> NoReturn:
        raise ValueError(
            f"torch.distributed.{name}: Default process group has not been initialized, and "
            "Suiren has none; ask torch.distributed.is_initialized() first"
        )

    raises.__name__ = name
    raises.__doc__ = "Raises ValueError: there is no process group."
    return raises


get_rank, get_world_size = _absent("get_rank"), _absent("get_world_size")
get_backend, destroy_process_group = _absent("get_backend"), _absent("destroy_process_group")
for _name in ("all_gather", "all_reduce", "barrier", "broadcast", "gather", "reduce", "scatter",
              "send", "recv", "isend", "irecv", "new_group"):  # fmt: skip
    globals()[_name] = _absent(_name)
