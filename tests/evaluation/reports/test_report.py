"""The page says what the results say, is self-contained, and escapes what it is given."""

import io
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cells.cellset import CellSet
from evaluation.gains.conclusion import conclude
from evaluation.gains.statistics import summarize
from evaluation.reports.figures import contact_sheet, strip
from evaluation.reports.report import read_study, write_report
from evaluation.reports.tables import fidelity_tables, funnel_rows, mean_range, number, percent_interval
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import study_config
from runtime.errors import InputError
from runtime.rundir import write_bytes, write_json

CLASSES = ["<b>bold</b>", "plenty"]
RARE = CLASSES[:1]
MEANS = {"unaugmented": 0.6, "real": 0.80, "logit_adjustment": 0.85, "gan": 0.70, "diffusion": 0.90}
METRICS = ("frechet", "kid", "precision", "recall", "density", "coverage")
PAIR = {"class": CLASSES[0], "distance": 0.3, "copy": True}
MISSING = "not computed: the file weights-inception.pth is missing; set inception= to where it is"


def one_trial(strategy: str, seed: int) -> dict[str, Any]:
    rare = MEANS[strategy] + 0.004 * seed
    part = {"accuracy": 0.9, "balanced_accuracy": 0.9, "macro_f1": 0.8, "mean_rare_recall": rare}
    scores = {**part, "recall": {CLASSES[0]: rare, CLASSES[1]: 0.95}}
    seconds = {"classifier": 36.0}
    if strategy in ("gan", "diffusion"):
        seconds |= {"generator": 288.0, "synthesis": 36.0}
    return {
        "strategy": strategy,
        "generator_seed": 0 if strategy in ("gan", "diffusion") else None,
        "classifier_seed": seed,
        "fold": 0,
        "metrics": scores,
        "validation": scores,
        "confusion": [[8, 2], [0, 10]],
        "train_counts": {CLASSES[0]: 10 + 40 * ("generator" in seconds), CLASSES[1]: 400},
        "seconds": seconds,
    }


def one_quality(kind: str, encoder: str = "domain CNN") -> dict[str, Any]:
    spread = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 20}
    entry = {"value": 0.77, "n_reference": 40, "n_synthetic": 40, "matched": spread, "floor": spread}
    none = {"reason": "not computable, n = 12"}
    mark = {"encoder": encoder, "weights": "abc", "resize": "none", "n_reference": 40, "n_synthetic": 40}
    fidelity = {
        "fingerprint": {
            **mark,
            "classes": CLASSES,
            "image_size": 8,
            "reference_split": "test",
            "reference": "d1",
        },
        "name": f"Fréchet distance ({encoder})",
        "overall": dict.fromkeys(METRICS, entry),
        "per_class": {c: {m: entry if m == "kid" else none for m in METRICS} for c in CLASSES},
    }
    return {
        "generator": kind,
        "seed": 0,
        "fidelity": [fidelity, {"name": "FID", "reason": MISSING}],
        "near_copies": {
            "share": 0.02,
            "copies": kind == "gan",
            "sentence": "COPIES: said." if kind == "gan" else "No evidence of copying.",
            "membership": {
                "pixels": {"auc": 0.5, "low": 0.4, "high": 0.6, "verdict": "no evidence"},
                "features (domain CNN)": {"reason": "not computable"},
            },
        },
        "agreement": {
            "share": 0.9,
            "ceiling": 0.95,
            "ceiling_n": 20,
            "classes": CLASSES,
            "matrix": [[9, 1], [0, 0]],
            "real_matrix": [[9, 1], [0, 10]],
            "confused": [{"intended": CLASSES[0], "predicted": CLASSES[1], "share": 0.1, "real_share": 0.05}],
        },
        "pairs": [
            {
                "synthetic": "cell.png",
                "training": "cell.png",
                "class": CLASSES[0],
                "distance": 0.3,
                "copy": True,
            }
        ],
    }


def one_choice(seed: int, step: int, kid: float) -> dict[str, Any]:
    shares = {f"label_agreement/{CLASSES[0]}": 0.4, f"label_agreement/{CLASSES[1]}": 0.8}
    mark = {"encoder": "domain CNN", "weights": "abc", "reference_split": "val"}
    return {
        "generator": "gan",
        "seed": seed,
        "choose": "best",
        "step": step,
        "figures": {"kid": kid, "label_agreement": 0.6, **shares},
        "last": {"step": 5000, "figures": {"kid": 0.0321, "label_agreement": 0.45, **shares}},
        "decide_by": [["kid", "low"], ["label_agreement", "high"]],
        "fingerprint": {**mark, "n_synthetic": 16, "n_reference": 16, "n_judged_per_class": 64},
    }


def one_ablation() -> dict[str, Any]:
    figure = {"value": 0.0123, "low": -0.001, "high": 0.02}
    row = {"filters": "realism alone", "passed": 90, "rejected": 0.1, "real_rejected": 0.04, "real_n": 50}
    row |= {"agreement": 0.95, "kid": figure, "coverage": {"reason": "not computable, n = 40"}}
    return {
        "generator": "gan",
        "n": 40,
        "classes": RARE,
        "drawn": {RARE[0]: 100},
        "encoder": "domain CNN",
        "repeats": 10,
        "rows": [row],
    }


def results() -> dict[str, Any]:
    trials = [one_trial(s, seed) for s in MEANS for seed in range(6)]
    settings = StudySettings.model_validate({"data": {"kind": "phantom"}, "shared_generators": True})
    counts = {CLASSES[0]: 10, CLASSES[1]: 400}
    stage = {"filter": "duplicates", "rule": "the same <pixels>", "real_rejected": 0.02, "real_n": 50}
    stage |= {"in": {CLASSES[0]: 60}, "out": {CLASSES[0]: 45}}
    return {
        "config": {**study_config(settings), "note": "</pre><script>"},
        "trials": trials,
        "summary": summarize(trials),
        "conclusion": conclude(
            trials, synthetic=["gan", "diffusion"], majority_rate=0.5, shared_generators=True
        ),
        "cells": {
            "classes": CLASSES,
            "rare": RARE,
            "phantom": True,
            "image_size": 8,
            "digest": "d",
            "added": {CLASSES[0]: 40},
            **dict.fromkeys(("train", "val", "test"), counts),
        },
        "notices": ["These are drawn phantoms, not real cells."],
        "fidelity": [one_quality("gan"), one_quality("diffusion")],
        "chosen": [one_choice(0, 2000, 0.0123), one_choice(1, 5000, 0.0321)],
        "funnels": [{"generator": "gan", "seed": 0, "funnel": [stage]}],
        "ablations": [one_ablation()],
        "strips": {CLASSES[0]: {"real": "cell.png", "gan": "cell.png", "repeat": "cell.png"}},
        "cost": [{"part": "classifiers", "runs": 30, "seconds": 90.0}],
        "machine": {"processor": "x86_64", "cores": 2, "gpu": None, "versions": {"torch": "2"}},
    }


class Page(HTMLParser):
    """What a page loads, its script elements and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(value) for name, value in attrs if name == "src" or tag == "link"]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "first"
    write_json(folder / "results.json", results())
    write_bytes(folder / "pictures" / "cell.png", strip(np.zeros((3, 8, 8, 3), np.uint8), 2))
    write_report([read_study(folder)], folder)
    return folder


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.829, 1.041, "82.9 to 100.0"),
        (-0.1, 0.25, "0.0 to 25.0"),
        (0.5, 0.6, "50.0 to 60.0"),
        (None, None, ""),
    ],
)
def test_an_interval_of_shares_ends_where_shares_end(
    low: float | None, high: float | None, words: str
) -> None:
    assert percent_interval(low, high) == words


def test_the_page_opens_with_the_verdict(study: Path) -> None:
    page = Page((study / "report.html").read_text())
    assert page.words.index("Gain, for this generator") < page.words.index("Cells per class")
    assert "+5.0 points" in page.words and "p = 0.031" in page.words


def test_the_page_needs_no_other_file_and_escapes(study: Path) -> None:
    page = Page((study / "report.html").read_text())
    assert len(page.loads) >= 8 and all(url.startswith("data:image/png;base64,") for url in page.loads)
    assert "script" not in page.tags and "link" not in page.tags
    assert "<b>bold</b>" in page.words  # as text


def test_markup_in_a_class_name_stays_text_in_markdown(study: Path) -> None:
    prose, config = (study / "report.md").read_text().split("```yaml", 1)
    assert "&lt;b>bold&lt;/b>" in prose and "<b>" not in prose
    assert "</pre><script>" in config  # a code block shows it as it is


@pytest.mark.parametrize(
    "words",
    [
        "drawn phantoms",
        "best by KID (lowest), then label agreement (highest)",
        "16 synthetic against 16 real cells; the judge saw 64 cells of each class",
        "weights-inception.pth is missing",
        "Fingerprint: encoder domain CNN",
        "no class lost",
        "distance 0.30",
        "90.0%",
        "On 2 processor cores",
        "too small to tell",
        "smallest p they could reach is 0.12",
        "All seeds share one generator of each kind",
        "10 phantom + up to 40",
        "are given the class they were asked for",
        "shared_generators: true",
    ],
)
def test_both_pages_say_everything(study: Path, words: str) -> None:
    assert words in Page((study / "report.html").read_text()).words
    if words != "distance 0.30":
        assert words in (study / "report.md").read_text()


def test_the_step_that_was_kept_is_told_beside_the_last(study: Path) -> None:
    row = "| gan | 0 | 2,000 | 5,000 | 0.0123 (0.0321) | 60.0% (45.0%) | &lt;b>bold&lt;/b> 40.0% |"
    assert row in (study / "report.md").read_text().splitlines()
    words = " ".join(Page((study / "report.html").read_text()).words.split())
    assert "gan02,0005,000 0.01230.032160.0%45.0%<b>bold</b> 40.0%" in words


def test_a_study_without_a_monitor_says_so_and_an_older_one_nothing(study: Path, tmp_path: Path) -> None:
    last = {"generator": "gan", "seed": 0, "choose": "last", "step": 700, "figures": {}}
    for name, change in (("plain", {"chosen": [last]}), ("older", {})):
        shutil.copytree(study, tmp_path / name)
        told = {key: value for key, value in results().items() if key != "chosen"}
        write_json(tmp_path / name / "results.json", {**told, **change})
        write_report([read_study(tmp_path / name)], tmp_path / name)
    for page in ("report.html", "report.md"):
        assert "gan (seed 0): 700. No monitor" in (tmp_path / "plain" / page).read_text()
        assert "was kept" not in (tmp_path / "older" / page).read_text()


def test_markdown_links_to_figures_that_exist(study: Path) -> None:
    text = (study / "report.md").read_text()
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert len(links) >= 4 and all((study / link).is_file() for link in links)
    rows = [line for line in text.splitlines() if line.startswith("| diffusion")]
    header = next(line for line in text.splitlines() if line.startswith("| Strategy"))
    assert rows and rows[0].count("|") == header.count("|")


def test_several_studies_share_a_page(study: Path, tmp_path: Path) -> None:
    write_report([read_study(study), read_study(study)], tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert "2 studies" in page.words and page.words.count("What it cost") == 2
    assert (tmp_path / "figures" / "1-gains.png").is_file()


def test_a_study_without_generated_cells_does_not_ask_about_them(study: Path, tmp_path: Path) -> None:
    plain = results()
    plain["trials"] = [t for t in plain["trials"] if t["strategy"] not in ("gan", "diffusion")]
    plain |= {"fidelity": [], "funnels": [], "ablations": [], "strips": {}}
    plain["summary"] = summarize(plain["trials"])
    plain["conclusion"] = conclude(plain["trials"], synthetic=[], majority_rate=0.5, shared_generators=True)
    plain["cells"]["added"] = {}
    write_json(tmp_path / "plain" / "results.json", plain)
    write_report([read_study(tmp_path / "plain")], tmp_path / "plain")
    asked = "Would synthetic cells of the rare classes have made"
    words = Page((tmp_path / "plain" / "report.html").read_text()).words
    assert asked not in words and "No strategy had generated cells." in words and "share one" not in words
    assert asked in Page((study / "report.html").read_text()).words


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results"):
        read_study(tmp_path)
    (tmp_path / "doses").mkdir()
    (tmp_path / "doses" / "split.json").touch()
    for begun in (tmp_path / "doses", tmp_path):  # a study, and the design that it belongs to
        with pytest.raises(InputError, match="has not come to its end"):
            read_study(begun)


def test_a_study_without_its_pictures_is_refused(study: Path, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    shutil.copy(study / "results.json", tmp_path / "part")
    with pytest.raises(InputError, match=r"pictures/.*needs the whole out="):
        write_report([read_study(tmp_path / "part")], tmp_path / "again")


def test_figures_of_different_fingerprints_never_share_a_table() -> None:
    records = [one_quality("gan", "A"), one_quality("diffusion", "A"), one_quality("gan", "B")]
    tables = fidelity_tables(records)
    assert [t["generators"] for t in tables] == [["gan", "diffusion"], ["gan"]]
    assert tables[0]["missing"] == [{"metric": "FID", "reason": MISSING}] and not tables[1]["missing"]
    assert {r["metric"] for r in tables[0]["per_class"]} == {"KID"}


def test_the_frechet_distance_is_called_fid_by_its_own_name_only() -> None:
    assert fidelity_tables([one_quality("gan")])[0]["rows"][0]["metric"] == "Fréchet distance (domain CNN)"


def test_funnel_is_summed_over_seeds() -> None:
    funnel = results()["funnels"][0]
    (row,) = funnel_rows([funnel, {**funnel, "seed": 1}, {**funnel, "generator": "repeat"}], {CLASSES[0]: 40})
    assert (row["before"], row["after"], row["rejected"]) == ("120", "90", "30 (25%)")
    assert (row["rule"], row["real"]) == ("the same <pixels>", "2.0% of 50")
    last = {**funnel["funnel"][0], "filter": "quota"}
    whole = {**funnel, "funnel": [last], "asked": {CLASSES[0]: 25}}
    (row,) = funnel_rows(
        [whole, {**whole, "seed": 1}], {CLASSES[0]: 40}
    )  # other generators were asked for more
    assert row["classes"].endswith("90 of 50")
    old = {k: v for k, v in funnel["funnel"][0].items() if not k.startswith(("rule", "real"))}
    (row,) = funnel_rows([{**funnel, "funnel": [old]}], {CLASSES[0]: 40})  # of an earlier version
    assert (row["rule"], row["real"]) == ("", "–")


def test_curation_and_confused_pairs_are_in_both_pages(study: Path) -> None:
    for page in ("report.md", "report.html"):
        text = " ".join((study / page).read_text().split())
        assert "What each filter is worth" in text and "12.3" in text and "−1.0 to 20.0" in text
        assert "100 drawn cells" in text and "not computable, n = 40" in text
        assert "are taken for plenty (of phantom cells: 5.0%)" in text


def test_numbers_in_words() -> None:
    assert [number(v) for v in (0.00012, 0.1234, 12.34, 12345.6, 0.0)] == [
        "1.2e-4",
        "0.123",
        "12.3",
        "12,346",
        "0",
    ]
    assert mean_range([0.1]) == "10.0%"
    assert mean_range([0.1, 0.2]) == "15.0% (10.0 to 20.0 over 2 generators)"


def test_contact_sheet_has_a_row_for_each_class() -> None:
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    cells = CellSet.from_arrays(pixels, [0, 1, 1, 1], ("one", "many"))
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(cells, per_class=3, edge=10))))
    dark = sheet[:, -36:].max(axis=2) < 5
    assert [int(dark[row * 12 : row * 12 + 10].sum()) for row in (0, 1)] == [100, 300]
