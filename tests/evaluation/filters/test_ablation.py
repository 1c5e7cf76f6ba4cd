"""The ablation shows of each filter what it rejects and what that does to what passes."""

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from classifiers.training import Classifier
from evaluation.features.encoders import Encoder
from evaluation.filters.ablation import Bench, ablate, variants
from evaluation.filters.curation import CurationSettings, RealCells
from evaluation.reports.ablation_table import ablation_tables
from runtime.errors import InputError

TWO = CLASSES[:2]


class Colors:
    """A net and an encoder at once: 4 x 4 colors as features, and the first pixel as its answer."""

    name = "colors"
    classes = TWO
    fingerprint: dict[str, Any] = {}  # noqa: RUF012

    def features(self, cells: CellSet) -> NDArray[np.float32]:
        return cells.pixels[:, 2::5, 2::5].reshape(len(cells), -1).astype(np.float32) / 50

    encode = features

    def probabilities(self, cells: CellSet) -> NDArray[np.float32]:
        found = np.full((len(cells), 2), 0.1, np.float32)
        found[np.arange(len(cells)), self.predict(cells)] = 0.9
        return found

    def predict(self, cells: CellSet) -> NDArray[np.int64]:
        return np.where(cells.pixels[:, 0, 0, 0] == 0, 1 - cells.labels, cells.labels)


def cells(seed: int, each: int) -> CellSet:
    found = phantoms(dict.fromkeys(TWO, each), 20, seed)
    return CellSet.from_arrays(np.maximum(found.pixels, 1), found.labels, TWO)


def bench(drawn: CellSet, quota: int, **settings: Any) -> Bench:
    net = Colors()
    return Bench(
        drawn=drawn,
        quotas=dict.fromkeys(TWO, quota),
        real=RealCells(cells(1, 60), cells(2, 40)),
        reference=cells(3, 30),
        curator=cast(Classifier, net),
        judge=cast(Classifier, net),
        encoder=cast(Encoder, net),
        detector=None,
        settings=CurationSettings.model_validate(settings),
    )


def poor() -> CellSet:
    """Eighty good cells, twenty of noise, ten doubles, ten of the wrong class."""
    good, random = cells(4, 40), np.random.default_rng(0)
    noise = random.integers(1, 256, (20, 20, 20, 3), dtype=np.uint8)
    wrong = cells(5, 5).pixels.copy()
    wrong[:, 0, 0, 0] = 0
    labels = np.repeat([0, 1], 10)
    made = good + CellSet.from_arrays(noise, labels, TWO) + good.subset([*range(5), *range(40, 45)])
    return made + CellSet.from_arrays(wrong, np.repeat([0, 1], 5), TWO)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return ablate(bench(poor(), 30), 0)


def test_every_filter_has_its_row(found: dict[str, Any]) -> None:
    rows = {row["filters"]: row for row in found["rows"]}
    assert list(rows) == list(variants(CurationSettings()))
    passed = {name: row["passed"] for name, row in rows.items()}
    assert (passed["none"], passed["duplicates alone"], passed["label agreement alone"]) == (120, 110, 110)
    assert 80 <= passed["realism alone"] <= 100
    assert passed["diversity alone"] == 120  # it rejects nothing: it chooses
    assert passed["all together"] < min(passed[name] for name in passed if name.endswith("alone"))
    assert rows["realism alone"]["rejected"] == pytest.approx(1 - passed["realism alone"] / 120)
    assert found["n"] >= 50 and rows["none"]["real_rejected"] == 0


def test_what_passes_is_better_where_the_filter_is_right(found: dict[str, Any]) -> None:
    rows = {row["filters"]: row for row in found["rows"]}
    assert rows["realism alone"]["kid"]["high"] < rows["none"]["kid"]["low"]  # no noise left
    assert rows["label agreement alone"]["agreement"] == 1.0 > rows["none"]["agreement"]
    assert 0 <= rows["realism alone"]["real_rejected"] < 0.25
    assert rows["none"]["coverage"]["low"] <= rows["none"]["coverage"]["value"] <= 1


def test_a_filter_that_leaves_too_little_gets_no_figures_and_spoils_none() -> None:
    doubled = cells(4, 40).subset([0, 40] * 25)
    found = ablate(bench(doubled, 25), 0)
    rows = {row["filters"]: row for row in found["rows"]}
    assert rows["duplicates alone"]["kid"] == {"reason": "not computable: 2 pass"}
    assert "value" in rows["none"]["kid"] and found["n"] == 50


def test_too_few_cells_are_not_scored() -> None:
    rows = ablate(bench(cells(4, 6), 4), 0)["rows"]
    assert rows[0]["kid"] == {"reason": "not computable, n = 8"}
    assert rows[0]["agreement"] == 1.0


def test_no_common_class_is_refused() -> None:
    with pytest.raises(InputError, match="no class has both"):
        ablate(bench(cells(4, 0), 4), 0)


def test_rows_in_words(found: dict[str, Any]) -> None:
    (table,) = ablation_tables([{"generator": "gan", **found}])
    assert table["rows"][0]["filters"] == "none" and table["rows"][0]["rejected"] == "0.0%"
    assert "120 drawn cells" in table["about"] and "colors" in table["about"]
    assert table["rows"][0]["kid"]["interval"].count("to") == 1
