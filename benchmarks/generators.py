"""Our generators beside a public one: the same cells, the same time on the same processor.

    python benchmarks/generators.py data.root=DIR judge=FILE.npz encoder.path=FILE.onnx [out=DIR] [minutes=15]

Trains each contestant for so many minutes, one after the other, on the training cells of long-tailed PBC,
has it draw equally many cells of each class, and compares these with the real test cells: KID and
coverage on an ONNX encoder, and the share of cells to which a judge gives their class. The judge has
learned from other real cells; its own recall on unseen ones is the ceiling. Leaves generators.md and
generators.png in OUT (results/generators); the same command goes on where it was stopped. The peer needs
`uv sync --group peers`.
"""

import importlib
import sys
from pathlib import Path

# This file has the name of a package, and a script's folder is where Python looks first.
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(place for place in sys.path if Path(place).resolve() != HERE)]

if __name__ == "generators":  # another script of this folder wants the package, and now finds it
    del sys.modules[__name__]
    importlib.import_module(__name__)

if __name__ == "__main__":
    from benchmarks.comparison import main
    from runtime.command import run_command, words_parser

    run_command(main, words_parser(__doc__, "data.root=DIR [key=value ...]", "what is compared"))
