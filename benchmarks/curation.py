"""What each filter of the curation is worth on the cells of a saved study.

    uv run benchmarks/curation.py STUDY out=DIR [curation.realism=0.1 ...]

STUDY is the out= of scripts/benchmark.py: its generators, networks and settings are read. Cells that it
has not kept (``drawn/``) its generator draws again. Other values of ``curation.*`` may be given, and
``strategies=[real,gan]`` leaves out the other generators. Written: DIR/curation.json and DIR/curation.md.
"""

import argparse
from functools import partial
from pathlib import Path

from cells.cellset import CellSet
from cells.reading import read_set
from evaluation.filters.ablation import ablate
from evaluation.filters.ablations import bench_of
from evaluation.reports.ablation_table import ablation_tables
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import Study, open_study
from generators import RESAMPLERS, load
from generators.synthesize import synthesize
from runtime.command import run_command, take
from runtime.config import load_config, to_dict
from runtime.devices import prepare_processor
from runtime.errors import InputError
from runtime.rundir import RunDir, write_json, write_text
from runtime.seeds import seed_of


def main(arguments: argparse.Namespace) -> None:
    """Read the study, score every variant, write the table."""
    out, rest = take(arguments.words, "out")
    folder = Path(rest[0]) if rest else Path()
    if not (folder / "split.json").is_file():
        raise InputError(f"{folder}: holds no study; give the out= of scripts/benchmark.py first.")
    settings = load_config(StudySettings, folder / "config.yaml", rest[1:])
    prepare_processor()
    study = open_study(settings, RunDir(folder), partial(print, flush=True))
    records = [
        {"generator": kind, "seed": 0, **ablate(bench_of(study, kind, drawn(study, kind)), seed_of(kind))}
        for kind, seed in study.generators
        if seed == 0 and kind not in RESAMPLERS
    ]
    target = Path(out or "results/curation")
    write_json(target / "curation.json", {"curation": to_dict(settings.curation), "records": records})
    page = "\n\n".join(table(each) for each in ablation_tables(records)) + "\n"
    write_text(target / "curation.md", page)
    print(page, end="")


def drawn(study: Study, kind: str) -> CellSet:
    """What the generator of seed 0 drew before curation, as the study kept it, or drawn again."""
    part = f"{kind}/seed-0"
    kept = study.run.path / "drawn" / part
    if (kept / "metadata.jsonl").is_file():
        return read_set(kept)
    generator = load(study.run.path / "generators" / part)
    return synthesize(generator, study.drawn(kind), 0, kind, study.split.digest)


def table(found: dict[str, object]) -> str:
    """One generator's, as Markdown."""
    head = [
        "Filters",
        "Pass",
        "Rejected",
        "Real cells rejected",
        "Label agreement",
        "KID × 1,000",
        "Coverage",
    ]
    lines = [f"### {found['name']}", "", str(found["about"]), "", _line(head), _line(["---"] * len(head))]
    rows = found["rows"]
    assert isinstance(rows, list)
    for row in rows:
        figures = [" ".join(f"{f['value']} ({f['interval']})".split()) for f in (row["kid"], row["coverage"])]
        lines.append(
            _line([row["filters"], row["passed"], row["rejected"], row["real"], row["agreement"], *figures])
        )
    return "\n".join(lines)


def _line(fields: list[str]) -> str:
    return "| " + " | ".join(fields) + " |"


if __name__ == "__main__":
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("words", nargs="*", metavar="STUDY key=value")
    run_command(main, command)
