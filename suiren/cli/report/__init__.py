"""The page that a run leaves: report.html, one file with everything in it.

`make` gathers, `page.py` and `parts.py` write HTML, `charts.py` draws SVG, `look.py` turns images
and weights into pictures, `texts.py` speaks English and Chinese.
"""

from suiren.cli.report.page import make

__all__ = ["make"]
