"""``suiren/__init__.pyi`` lists the namespace as it is; ``python tools/stubs.py`` writes it."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "tools" / "stubs.py"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="3.14 prints signatures differently")
def test_the_stub_file_is_current():
    code = subprocess.run([sys.executable, str(TOOL), "--check"]).returncode
    assert code == 0, "suiren/__init__.pyi is out of date: run python tools/stubs.py"
