"""What each filter of the curation is worth on the cells of a saved study.

    uv run benchmarks/curation.py STUDY out=DIR [generator.kind=gan] [curation.realism=0.1 ...]

STUDY is the out= of scripts/benchmark.py: its generators, networks and settings are read, nothing in
it is changed but for cells that it has not kept (``drawn/``), which its generator draws again. Other
values of ``curation.*`` may be given. Written: DIR/curation.json and DIR/curation.md.
"""

import argparse
from functools import partial
from pathlib import Path

from evaluation.ablation import ablate
from evaluation.ablation_table import ablation_tables
from evaluation.ablations import bench_of
from evaluation.benchmark import drawn
from evaluation.settings import StudySettings
from evaluation.study import open_study
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
        {"generator": kind, "seed": seed, **ablate(bench_of(study, drawn(study, kind, seed)), seed_of(kind))}
        for kind, seed in study.generators
        if seed == 0 and kind != "repeat"
    ]
    target = Path(out or "results/curation")
    write_json(target / "curation.json", {"curation": to_dict(settings.curation), "records": records})
    page = "\n\n".join(table(each) for each in ablation_tables(records)) + "\n"
    write_text(target / "curation.md", page)
    print(page, end="")


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
