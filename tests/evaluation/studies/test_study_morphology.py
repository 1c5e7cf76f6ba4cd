"""A study measures nuclei of its synthetic cells, and its report prints them."""

from typing import Any

import pytest

from cells.cellset import XRAY, CellSet
from cells.phantom import CLASSES, phantoms
from cells.split import Split
from classifiers.training import Classifier, ClassifierSettings
from evaluation.reports.morphology_table import study_morphology
from evaluation.studies.findings import measure

MADE, OTHER = CLASSES[0], CLASSES[3]


def measured(made: CellSet, split: Split, morphology: bool = True) -> dict[str, Any]:
    settings = ClassifierSettings(network="fast", width=4, steps=2, batch=8)
    judge = Classifier(split.train.classes, settings).fit(split.train, seed=0)
    return measure(made, split, judge, [], floor_repeats=3, seed=0, morphology=morphology)


@pytest.fixture(scope="module")
def split() -> Split:
    train, val, test = (phantoms({MADE: 22, OTHER: 22}, 32, seed) for seed in (1, 2, 3))
    return Split(train, val, test, "digest")


def test_nuclei_are_measured_of_the_classes_that_have_synthetic_cells(split: Split) -> None:
    made = phantoms({MADE: 24, OTHER: 0}, 32, 4)
    found = measured(made, split)
    classes = found["morphology"]["per_class"]
    assert classes[MADE]["nucleus_area"]["n_synthetic"] >= 20
    assert classes[OTHER]["nucleus_area"] == {"reason": "not computable, n = 0"}
    table = study_morphology([{"generator": kind, "seed": 0, **found} for kind in ("gan", "repeat")])
    assert table is not None and not table["missing"]
    (row,) = table["distances"]  # the control is left out, and so is the class without synthetic cells
    area = classes[MADE]["nucleus_area"]
    assert row[:3] == ["gan", MADE, f"{area['matched']['value']:.2f} [{area['floor']['value']:.2f}]"]
    assert len(row) == len(table["header"]) == len(table["medians"][0])


def test_distances_are_means_over_the_generators_of_a_kind() -> None:
    def record(seed: int, value: float) -> dict[str, Any]:
        entry = {"value": value, "matched": {"value": value}, "floor": {"value": 0.1}}
        entry |= {"reference": [0.0] * 5, "synthetic": [1.0] * 5}
        names = ("nucleus_area", "nucleus_to_cytoplasm", "lobes", "granularity", "nucleus_hue")
        return {
            "generator": "gan",
            "seed": seed,
            "morphology": {"per_class": {MADE: dict.fromkeys(names, entry)}},
        }

    table = study_morphology([record(0, 0.4), record(1, 0.8)])
    assert table is not None and table["distances"] == [["gan", MADE, *["0.60 [0.10]"] * 5]]


def test_xrays_older_studies_and_a_switch_have_none(split: Split) -> None:
    made = phantoms({MADE: 3, OTHER: 3}, 32, 4)
    assert "morphology" not in measured(made, split, morphology=False)
    assert study_morphology([{"generator": "gan", "seed": 0}]) is None
    films = Split(*(side.with_modality(XRAY) for side in (split.train, split.val, split.test)), "digest")
    found = measured(made.with_modality(XRAY), films)
    table = study_morphology([{"generator": "gan", "seed": 0, **found}])
    assert table is not None and "X-rays" in table["missing"] and not table["distances"]
