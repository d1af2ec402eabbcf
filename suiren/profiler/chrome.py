"""A profile as a file of Chrome's trace format, which chrome://tracing and Perfetto show."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any


def write(events: Sequence[Any], path: str, metadata: dict[str, Any]) -> None:
    """Writes the events; a path that ends in ``.gz`` is compressed."""
    process = os.getpid()
    found: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": "python"}}
    ]
    for thread in sorted({event.thread for event in events}):
        found.append({
            "ph": "M", "name": "thread_name", "pid": process, "tid": thread,
            "args": {"name": f"thread {thread}"},
        })  # fmt: skip
    for event in events:
        more = {"External id": event.id, **event.details}
        if event.input_shapes:
            more["Input Dims"] = event.input_shapes
        if event.stack:
            more["Call stack"] = ";".join(reversed(event.stack))
        found.append({
            "ph": "X", "cat": event.kind, "name": event.name, "pid": process,
            "tid": event.thread, "ts": event.time_range.start,
            "dur": event.time_range.elapsed_us(), "args": more,
        })  # fmt: skip
    document = {
        "schemaVersion": 1, "displayTimeUnit": "ms", **metadata, "traceEvents": found,
        "traceName": path,
    }  # fmt: skip
    text = json.dumps(document)
    if path.endswith(".gz"):
        import gzip

        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(text)
    else:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
