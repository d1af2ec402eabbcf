"""A module as an HTML table, for notebooks: its layers, their settings and parameters.

`repr` stays what it is. Output sizes depend on the input, which a module does not know;
`suiren summary` lists them.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from suiren.nn.parameter import is_lazy

if TYPE_CHECKING:
    from suiren.nn.modules.module import Module

MOST_ROWS = 300  # more make a notebook slow and help nobody
_CELL = "text-align:left;padding:2px 12px 2px 0"
_NUMBER = "text-align:right;padding:2px 0 2px 12px"


def table(module: Module) -> str:
    """Each module below `module` and itself: name, class, settings, own parameters.

    Example:
        >>> from suiren import nn
        >>> from suiren.nn.html import table
        >>> "Linear" in table(nn.Sequential(nn.Linear(2, 3))) and "9" in table(nn.Linear(2, 3))
        True
    """
    rows = []
    every = list(module.named_modules())
    for name, part in every[:MOST_ROWS]:
        path = name.split(".") if name else []
        label = html.escape(path[-1]) if path else ""
        settings = html.escape(part.extra_repr())
        indent = f"{_CELL};padding-left:{1.2 * len(path):g}em"
        rows.append(
            f'<tr><td style="{indent}">{label}</td>'
            f'<td style="{_CELL}">{html.escape(type(part).__name__)}</td>'
            f'<td style="{_CELL}">{settings}</td>'
            f'<td style="{_NUMBER}">{_count(part, False)}</td></tr>'
        )
    if len(every) > MOST_ROWS:
        rows.append(f'<tr><td style="{_CELL}">…</td><td style="{_CELL}" colspan="3">'
                    f"{len(every) - MOST_ROWS} more</td></tr>")  # fmt: skip
    rows.append(
        f'<tr><th style="{_CELL}" colspan="3">parameters</th>'
        f'<th style="{_NUMBER}">{_count(module, True) or 0}</th></tr>'
    )
    return f"<table>{''.join(rows)}</table>"


def _count(part: Module, all_below: bool) -> str:
    parameters = list(part.parameters(recurse=all_below))
    if not parameters:
        return ""
    if any(is_lazy(parameter) for parameter in parameters):
        return "?"  # it has not seen its input
    return f"{sum(parameter.numel() for parameter in parameters):,}"
