"""Directions, continued: blurred cells are less real, and noise is worse than every other fault."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch.nn import functional
from torchvision.models import mobilenet_v3_small

from cells.cellset import CellSet
from cells.images import to_tensor
from cells.phantom import CLASSES, phantoms
from classifiers.training import Classifier, ClassifierSettings
from evaluation.scoring import ScoreSettings, score

SIZE, EACH = 32, 30
KINDS = ("granular", "round", "lobed", "blast")
NETWORK = {"network": "fast", "sampler": "balanced", "steps": 120, "batch": 64}
HIGHER_IS_BETTER = {"kid": False, "precision": True, "recall": True, "density": True, "coverage": True}


def drawn(seed: int) -> CellSet:
    cells = phantoms(dict.fromkeys(KINDS, EACH), SIZE, seed)
    return CellSet.from_arrays(cells.pixels, [KINDS.index(CLASSES[k]) for k in cells.labels], KINDS)


def faulty(name: str, honest: CellSet) -> NDArray[np.uint8]:
    pixels = np.array(honest.pixels)
    if name == "blurred":
        return np.stack([gaussian_filter(image, (2, 2, 0)) for image in pixels])
    if name == "one kind":  # in place of four
        return phantoms({"blast": len(pixels)}, SIZE, 6).pixels
    if name == "noise":
        return np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    assert name == "honest"
    return pixels


class Bench:
    """Two encoders: one fitted on cells, and one that never saw any, as Inception never did."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.real, self.unseen, self.honest = folder, *(drawn(seed) for seed in (1, 2, 3))
        domain = Classifier(KINDS, ClassifierSettings.model_validate(NETWORK))
        domain.fit(drawn(4), seed=5).save(folder / "domain")
        torch.manual_seed(0)  # random filters tell textures apart; no weights can be downloaded in a test
        general = mobilenet_v3_small(weights=None).train()
        for module in general.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0  # its statistics are those of the cells below
        with torch.no_grad():
            general(functional.interpolate(to_tensor(self.real.pixels), size=96))
        torch.save(general.state_dict(), folder / "general.pth")
        self.encoders: dict[str, dict[str, Any]] = {
            "domain": {"kind": "domain", "path": folder / "domain"},
            "general": {"kind": "torchvision", "model": "mobilenet_v3_small", "path": folder / "general.pth"},
        }

    def overall(self, fault: str, encoder: str) -> dict[str, float]:
        settings = ScoreSettings.model_validate(
            {
                "encoder": self.encoders[encoder],
                "labels": False,
                "morphology": False,
                "copy_features": False,
                "floor_repeats": 2,
            }
        )
        synthetic = (faulty(fault, self.honest), self.honest.labels)
        found = score(self.real, synthetic, self.unseen, classes=KINDS, settings=settings, cache=self.folder)
        entries = found.result["fidelity"]["overall"]
        return {metric: entries[metric]["value"] for metric in HIGHER_IS_BETTER}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("directions"))


def test_blurring_lowers_precision(bench: Bench) -> None:
    sharp, blurred = (bench.overall(name, "domain") for name in ("honest", "blurred"))
    assert blurred["precision"] < 0.85 * sharp["precision"]
    assert blurred["density"] < 0.75 * sharp["density"]
    assert blurred["kid"] > sharp["kid"] + 0.1


def test_noise_scores_worst_everywhere(bench: Bench) -> None:
    found = {name: bench.overall(name, "general") for name in ("honest", "blurred", "one kind", "noise")}
    for metric, higher in HIGHER_IS_BETTER.items():
        worst = (min if higher else max)(found, key=lambda name: found[name][metric])
        assert worst == "noise", (metric, found)
