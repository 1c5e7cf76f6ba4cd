"""Parts of a shape."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Most peaks lie in column 0: SciPy's tree divides them at the smallest number above 0.
PROGRAM = """
import numpy as np
from cells.necks import parts_of
from runtime.devices import prepare_processor

prepare_processor()
shape = np.zeros((64, 64), bool)
shape[0:58:3, 0] = shape[0, 63] = True
print(len(parts_of(shape, 0.1, 2.0).depths) - 1, np.nextafter(0.0, 1.0) == 0.0)
"""


def test_many_peaks_at_the_edge_do_not_end_the_process() -> None:
    """In a process of its own, as it died by a signal where denormal numbers are taken for zero."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["21", "True"], "afterwards they are zero again"
