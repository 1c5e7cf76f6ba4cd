"""Score a folder of synthetic images against folders of real ones, whoever made them."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from evaluation.scores.page import figures_folder
from evaluation.scores.scorecard import copying, tables, warning
from evaluation.scoring import EvaluateSettings, refuse_taken, score_folders
from runtime.command import run_command, split_arguments, take, take_required
from runtime.config import load_config, to_dict
from runtime.errors import InputError

EXAMPLES = """
folders: <class>/*.png, split folders of them, a flat folder, or a set that rarecell saved.
Images of any size are brought to image_size (default: that of the synthetic ones).

examples:
  # real training cells, unseen real cells, and a small CNN fitted on the training cells
  uv run scripts/evaluate.py real=cells/train synthetic=made holdout=cells/test \\
      encoder.kind=domain out=scores.json
  # any ONNX encoder; without a holdout the share of copies cannot be calibrated
  uv run scripts/evaluate.py real=cells synthetic=made encoder.kind=onnx \\
      encoder.path=encoder.onnx out=scores.json
  # the FID proper, with torch-fidelity's weights
  uv run scripts/evaluate.py real=cells synthetic=made encoder.kind=inception out=scores.json

Beside FILE.json lie FILE.html (a page with pictures, in one file), FILE.md (the same with FILE-figures/).
docs/evaluating.md says what each figure means.
"""


def main(arguments: argparse.Namespace) -> None:
    """Read, score, write, show."""
    paths, overrides = split_arguments(arguments.words)
    out, overrides = take_required(overrides, "out", "scores.json")
    overwrite, overrides = take(overrides, "overwrite")
    settings = load_config(EvaluateSettings, _config(paths), overrides)
    file = Path(out)
    refuse_taken(file, to_dict(settings), overwrite == "true")
    found = score_folders(settings)
    found.write(file, overwrite=True)  # what was there is of the same config, or may be lost
    _show(found.result, file)


def _config(paths: list[Path]) -> Path | None:
    if len(paths) > 1:
        raise InputError(f"{paths[1]}: one config file at most; folders are given as real=DIR.")
    return paths[0] if paths else None


def _show(result: dict[str, object], file: Path) -> None:
    console = Console()
    console.print(copying(result), markup=False)
    for title, header, rows in tables(result):
        table = Table(*header, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    if result["leaking"]:
        console.print(f"WARNING: {warning(result)}", markup=False)
    written = [file, file.with_suffix(".md"), file.with_suffix(".html"), figures_folder(file)]
    console.print(f"written: {', '.join(map(str, written))}", soft_wrap=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("words", nargs="*", metavar="[CONFIG] key=value", help="see below")
    return command


if __name__ == "__main__":
    run_command(main, parser())
