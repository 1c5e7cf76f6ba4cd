"""LaTeX, CSV, the method section and figures of a report say what the results say."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.gains.conclusion import conclude
from evaluation.gains.statistics import summarize
from evaluation.reports.figures import canvas, finish, strip
from evaluation.reports.latex import Table, as_float, escaped, tabular, undeclared
from evaluation.reports.literature import LITERATURE
from evaluation.reports.long_tables import summary_csv, trials_csv
from evaluation.reports.method_text import in_latex, in_words, method_text
from evaluation.reports.method_training import CITED, same_budget
from evaluation.reports.references import bibtex, cited_keys
from evaluation.reports.report import read_study, write_report
from evaluation.reports.study_figures import held, mean_confusion, spread
from evaluation.reports.tables import listed
from evaluation.studies.costs import cost_rows, strategy_costs
from runtime.rundir import write_bytes, write_json

pytestmark = pytest.mark.usefixtures("all_formats")
CLASSES = ["50%_blast & more", "plenty"]
MEANS = {"real": 0.80, "logit_adjustment": 0.85, "gan+logit_adjustment": 0.90}
GAN = {
    "steps": 1200,
    "batch": 16,
    "learning_rate": 8e-4,
    "penalty": 1.0,
    "final_penalty": 0.2,
    "balance": 0.9,
    "augmentation": "auto",
}


def trial(strategy: str, seed: int) -> dict[str, Any]:
    rare = MEANS[strategy] + 0.004 * seed
    part = {"accuracy": 0.9, "balanced_accuracy": 0.9, "macro_f1": 0.8, "mean_rare_recall": rare}
    scores = {**part, "recall": {CLASSES[0]: rare, CLASSES[1]: None}}
    made = "gan" in strategy
    return {
        "strategy": strategy,
        "generator_seed": seed if made else None,
        "classifier_seed": seed,
        "fold": 0,
        "metrics": scores,
        "validation": scores,
        "confusion": [[8, 2], [0, 0]],
        "train_counts": {CLASSES[0]: 10 + 40 * made, CLASSES[1]: 400},
        "seconds": {"classifier": 360.0, **({"generator": 3240.0} if made else {})},
        "fidelity": {"agreement": 0.9} if made else None,
    }


def results(shared: bool = False, **config: Any) -> dict[str, Any]:
    trials = [trial(s, seed) for s in MEANS for seed in range(6)]
    counts = {CLASSES[0]: 10, CLASSES[1]: 400}
    return {
        "config": {
            "data": {"kind": "pbc", "root": "pbc"},
            "generators": {"gan": GAN, "diffusion": {"steps": 777}},
            "curation": {"enabled": True, "duplicates": True, "min_probability": 0.25},
            "classifier": {
                "network": "resnet18",
                "steps": 500,
                "batch": 64,
                "lr": None,
                "weight_decay": 0.05,
            },
            "surplus": 1.5,
            "seeds": 6,
            "shared_generators": False,
            "floor_repeats": 10,
            **config,
        },
        "trials": trials,
        "summary": summarize(trials),
        "conclusion": conclude(
            trials, synthetic=["gan+logit_adjustment"], majority_rate=0.5, shared_generators=shared
        ),
        "cells": {
            "classes": CLASSES,
            "rare": CLASSES[:1],
            "phantom": False,
            "image_size": 28,
            "digest": "abc",
            "added": {CLASSES[0]: 40},
            **dict.fromkeys(("train", "val", "test"), counts),
        },
        "notices": [],
        "fidelity": [],
        "funnels": [{"generator": "gan", "seed": 0, "funnel": []}],
        "strips": {CLASSES[0]: {"real": "cell.png", "gan": "cell.png"}},
        "cost": [{"part": "classifiers", "runs": 18, "seconds": 7200.0}],
        "machine": {"processor": "x86_64", "cores": 2, "gpu": None, "versions": {"torch": "2"}},
    }


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The joined report of two studies on different data, the second one harmed."""
    folder = tmp_path_factory.mktemp("studies")
    for name, kind in (("first_one", "pbc"), ("second", "raabin")):
        write_json(folder / name / "results.json", results(shared=True, data={"kind": kind}))
        write_bytes(folder / name / "pictures" / "cell.png", strip(np.zeros((3, 8, 8, 3), np.uint8), 2))
    write_report([read_study(folder / name) for name in ("first_one", "second")], folder / "both")
    return folder / "both"


def test_every_figure_is_there_as_png_svg_and_pdf(reports: Path) -> None:
    names = {path.stem for path in (reports / "figures").glob("*.svg")}
    every = ("counts", "recall", "gains", "cost", "samples", "confusion-real", "confusion-logit_adjustment")
    assert {f"{i}-{name}" for i in (0, 1) for name in every} | {"studies"} <= names
    for name in names:
        assert (reports / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert Image.open(io.BytesIO((reports / "figures" / f"{name}.png").read_bytes())).width > 200


def test_a_figure_is_the_same_file_each_time() -> None:
    for kind in ("svg", "pdf"):
        first, second = (finish(canvas(2, 1)[0], kind) for _ in range(2))
        assert first == second


def test_studies_of_several_data_sets_have_a_row_each_and_are_not_pooled(reports: Path) -> None:
    text = (reports / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| first_one |", "| second |"))]
    assert all(row.endswith("| gain, for this generator |") for row in rows)
    (contrast, _) = csv.DictReader(io.StringIO((reports / "tables" / "contrasts.csv").read_text()))
    told = [contrast[column] for column in ("verdict", "scope", "over")]
    assert told == ["gain", "for this generator", "seeds"]
    assert len(rows) == 2 and "| pbc |" in rows[0] and "| raabin |" in rows[1]
    assert all("+5.0" in row and "0.031" in row and row.count("|") == rows[0].count("|") for row in rows)
    assert "The studies are not pooled" in text
    assert "The studies are not pooled" in (reports / "report.html").read_text()


def test_long_tables_hold_every_figure() -> None:
    found = results()
    rows = list(csv.DictReader(io.StringIO(summary_csv([("one", found)]))))
    assert len(rows) == sum(len(figures) for figures in found["summary"].values())
    (rare,) = (r for r in rows if r["strategy"] == "real" and r["class"] == CLASSES[0])
    assert float(rare["mean"]) == found["summary"]["real"][f"recall/{CLASSES[0]}"]["mean"]
    assert rare["difference"] == rare["p"] == ""  # the reference itself
    rows = list(csv.DictReader(io.StringIO(trials_csv([("one", found)]))))
    seconds = [r for r in rows if r["part"] == "seconds" and r["metric"] == "generator"]
    assert len(seconds) == 6 and {r["strategy"] for r in seconds} == {"gan+logit_adjustment"}
    assert not [r for r in rows if r["class"] == "plenty"]  # no test cell: no value, and no row


def test_latex_prints_text_as_it_stands() -> None:
    assert escaped(r"a_b & 5% {x} \ #1") == r"a\_\allowbreak{}b \& 5\% \{x\} \textbackslash{} \#1"
    assert escaped("−1.2 ± 3") == r"$-$1.2 $\pm$ 3"
    assert undeclared("é 中") == [r"\DeclareUnicodeCharacter{4E2D}{[U+4E2D]}"]


def test_a_table_is_booktabs() -> None:
    table = tabular(Table("t", "c", ["a", "b"], [["x_y", ("1.0", "0.9 to 1.1")]]))
    assert table.startswith(r"\begin{tabular}{@{}lr@{}}")
    assert [table.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"{\scriptsize 0.9 to 1.1}" in table
    assert r"\label{tab:t}" in as_float(Table("t", "c", ["a"], []))


def test_tables_lie_beside_the_report_one_by_one(reports: Path) -> None:
    table = (reports / "tables" / "0-contrasts.tex").read_text()
    assert r"logit\_\allowbreak{}adjustment & +5.0" in table
    assert r"50\%\_\allowbreak{}blast \& more (rare)" in (reports / "tables" / "1-cells.tex").read_text()


def test_the_document_compiles_on_its_own(reports: Path) -> None:
    text = (reports / "report.tex").read_text()
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") >= 9
    for name in re.findall(r"\\includegraphics\[[^]]*\]\{\{?([^}]+)\}?\.pdf\}", text):
        assert (reports / "figures" / f"{name}.pdf").is_file()
    cited, listed_ = (
        set(re.findall(r"\\cite\{([^}]+)\}", text)),
        set(re.findall(r"\\bibitem\{([^}]+)\}", text)),
    )
    assert {key for group in cited for key in group.split(",")} == listed_
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex: the document was read, not compiled")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    for _ in range(2):
        ended = subprocess.run(command, cwd=reports, capture_output=True, check=False)
        assert ended.returncode == 0, ended.stdout.decode(errors="replace")[-2000:]
    assert b"undefined" not in ended.stdout


def test_the_method_says_what_was_used_and_nothing_else() -> None:
    text = method_text(results())
    for words in (
        "pbc [@acevedo2020]",
        "logit_adjustment (real, logits shifted by class share [@menon2021])",
        "network resnet18 [@he2016] of width 64, trained for 500 steps of 64 cells",
        "1,200 steps of 16 images",
        "probability below 0.25",
        "a seed with its own classifier",
        "(gan+logit_adjustment and logit_adjustment)",
        f"Beside the real cells, gan+logit_adjustment had 40 {CLASSES[0]}.",
    ):
        assert words in text, words
    for words in ("diffusion", "777", "SMOTE", "sener2018", "X-ray", "shared", "at most", "of all units"):
        assert words not in text, words


def test_the_method_follows_the_settings() -> None:
    asked = {"duplicates": False, "min_probability": 0.0, "diversity": True}
    text = method_text(results(shared_generators=True, curation=asked, data={"kind": "covid-xray"}))
    assert "conditional on these generators" in text and "[@sener2018]" in text
    assert "rejected" not in text and "flipped" not in text
    tuned = method_text(results(tune={"classifier.lr": [0.005, 0.01]}))
    assert "we chose lr of 0.005, 0.01 by mean rare recall on validation cells" in tuned
    assert "we chose" not in text
    assert "peak learning rate 0.002" in text and "peak learning rate" not in tuned
    network = results()["config"]["classifier"]
    transferred = method_text(results(classifier={**network, "weights": "imagenet"}))
    assert "peak learning rate 0.0002." in transferred and "published for ImageNet" in transferred
    gan = {**GAN, "diversity": 0.4, "warmup": 50, "second_moment": 0.99}
    made = method_text(results(generators={"gan": gan}))
    for words in ("weight 0.4 acted", "warm-up of 50 steps", "decaying by 0.99", "@mao2019"):
        assert words in made and words not in text, words
    assert "divided by ten" in method_text(results(classifier={**network, "schedule": "milestones"}))
    assert "source to be cited here" in method_text(results(data={"kind": "folder", "root": "x"}))


def test_the_method_says_how_many_cells_each_strategy_had() -> None:
    """Not the most that any of them had, and not beside the real cells what stood in their place."""
    had = {"real": 0, "gan": 40, "repeat": 40, "gan+x10": 100, "gan+only": 7, "gan+mixed_seeds": 40}
    found = results()
    found["summary"] = dict.fromkeys(had, found["summary"]["real"])
    found["trials"] = [
        {"strategy": name, "train_counts": {"rare": n + 10 * (name != "gan+only"), "plenty": 400 * (n != 7)}}
        for name, n in had.items()
    ]
    found["trials"].append({"strategy": "gan+x10", "train_counts": {"rare": 50, "plenty": 400}})
    found["cells"] |= {"rare": ["rare"], "train": {"rare": 10, "plenty": 400}}
    text = method_text(found)
    for words in (
        "Beside the real cells, gan, repeat and gan+mixed_seeds had 40 rare.",
        "Beside the real cells, gan+x10 had at most 100 rare.",
        "In the place of the real cells, gan+only had 7 rare.",
        "Units of gan+mixed_seeds took their cells from the generators of all units.",
    ):
        assert words in text, words


def test_the_method_says_that_validation_chose_the_moment() -> None:
    watch = {"every": 500, "cells": 64, "decide_by": "kid", "choose": "best"}
    text = method_text(results(monitor=watch))
    assert "Every 500 steps 64 cells of each class" in text and "step of the lowest KID was kept" in text
    for other in (None, {**watch, "choose": "last"}):
        assert "was kept" not in method_text(results(monitor=other))


def test_networks_of_their_own_are_not_called_the_same() -> None:
    assert same_budget(["real", "gan"]) == "the same network for the same number of optimizer steps"
    assert same_budget(["real", "gan+fast"]) == "for the same number of optimizer steps"


def test_every_citation_is_in_the_literature_and_in_the_bibliography(reports: Path) -> None:
    assert {work for table in CITED.values() for work in table.values()} <= set(LITERATURE)
    keys = cited_keys(method_text(results()))
    assert keys and set(keys) <= set(LITERATURE)
    entries = re.findall(r"^@\w+\{(\w+),", (reports / "references.bib").read_text(), re.MULTILINE)
    assert len(entries) == len(set(entries)) and set(keys) <= set(entries)
    text = "by Holm [@holm1979; @fisher1935], 5% of a_b"
    assert in_words(text) == "by Holm (Holm 1979; Fisher 1935), 5% of a_b"
    assert in_latex(text) == r"by Holm~\cite{holm1979,fisher1935}, 5\% of a\_\allowbreak{}b"


def test_every_work_has_what_a_reader_needs_to_find_it() -> None:
    for key, work in LITERATURE.items():
        assert str(work.year) == key[-4:] and work.authors and work.title, key
        assert work.where or work.arxiv or work.url, key
        entry = bibtex([(key, work)])
        assert entry.count("{") == entry.count("}"), key


def test_cost_counts_the_generator_and_not_what_real_takes() -> None:
    found = results()
    costs = strategy_costs(found["trials"], found["summary"], ["gan+logit_adjustment"])
    rows = {row["strategy"]: row for row in cost_rows(costs)}
    assert rows["real"]["hours"] == "0.1" and rows["gan+logit_adjustment"]["hours"] == "1"
    assert rows["gan+logit_adjustment"]["extra"] == "0.9"
    assert rows["gan+logit_adjustment"]["per_point"] == "0.09"  # 0.9 hours more for ten points
    assert rows["real"]["per_point"] == "–"


def test_one_who_mixes_generators_pays_for_all_of_them() -> None:
    seconds = {"classifier": 360.0, "generator": 3600.0, "synthesis": 0.0}
    names = ["real", "gan", "gan+mixed_seeds"]
    main = {"difference": 0.05, "difference_low": None, "difference_high": None}
    summary = {name: {"mean_rare_recall": main} for name in names}
    trials = [{"strategy": name, "seconds": seconds} for name in names[1:] for _ in range(3)]
    trials.append({"strategy": "real", "seconds": {"classifier": 360.0}})
    hours = {row["strategy"]: row["hours"] for row in strategy_costs(trials, summary, names[1:])}
    assert hours == pytest.approx({"real": 0.1, "gan": 1.1, "gan+mixed_seeds": 3.1})


def test_confusion_is_the_mean_of_shares() -> None:
    shares = mean_confusion([[[8, 2], [0, 0]], [[0, 1], [0, 0]]])
    assert np.allclose(shares[0], [0.4, 0.6]) and np.isnan(shares[1]).all()


def test_names_are_moved_apart_no_more_than_needed() -> None:
    assert spread([0.0, 5.0], 1.0) == [0.0, 5.0]
    assert np.allclose(spread([0.0, 0.0, 0.5, 9.0], 1.0), [-5 / 6, 1 / 6, 7 / 6, 9.0])


def test_names_stay_beside_the_plot() -> None:
    assert held([-3.0, -2.0, 4.0], 1.0, 0.0, 9.0) == [0.0, 1.0, 4.0]
    assert held([4.0, 8.5, 9.5], 1.0, 0.0, 9.0) == [4.0, 8.0, 9.0]


def test_words_are_listed() -> None:
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
