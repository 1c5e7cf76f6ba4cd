import numpy as np
import torch

from cells.cellset import CellSet
from generators import build
from generators.resample import RepeatSettings
from runtime.rundir import RunDir


def test_every_drawn_cell_is_a_training_cell_of_its_class(cells: CellSet, run: RunDir) -> None:
    control = build(RepeatSettings(), cells.classes, 8).fit(cells, run)
    labels = torch.arange(3).repeat_interleave(40)
    drawn = control.sample(labels, torch.arange(120)).permute(0, 2, 3, 1).numpy()
    for label in range(3):
        real = {image.tobytes() for image in cells.pixels[cells.labels == label]}
        ours = [image.tobytes() for image in drawn[labels.numpy() == label]]
        assert set(ours) <= real
        assert len(set(ours)) > 0.7 * len(real)


def test_cells_of_a_class_are_drawn_evenly(cells: CellSet, run: RunDir) -> None:
    control = build(RepeatSettings(), cells.classes, 8).fit(cells, run)
    drawn = control.sample(torch.full((900,), 2), torch.arange(900)).numpy()
    _, counts = np.unique([image.tobytes() for image in drawn], return_counts=True)
    assert len(counts) == 3
    assert counts.min() > 250
