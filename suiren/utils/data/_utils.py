"""``torch.utils.data._utils``, a private corner that many published scripts reach into for
``collate``."""

from suiren.utils.data import collate, fetch, worker

__all__ = ["collate", "fetch", "worker"]
