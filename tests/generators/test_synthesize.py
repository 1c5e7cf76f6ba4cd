import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cells.cellset import CellSet
from cells.reading import read_set
from cells.writing import write_set
from generators import Generator, build
from generators.synthesize import seconds_per_cell, synthesize
from runtime.errors import InputError
from runtime.rundir import RunDir
from runtime.seeds import seed_of


@pytest.fixture(scope="module")
def generator(
    settings_of: dict[str, Any], cells: CellSet, tmp_path_factory: pytest.TempPathFactory
) -> Generator:
    folder = tmp_path_factory.mktemp("synthesize")
    return build(settings_of["diffusion"], cells.classes, 8).fit(cells, RunDir(folder))


def test_each_record_names_generator_seed_guidance_and_split(generator: Generator) -> None:
    made = synthesize(generator, {"dark": 2}, 7, "diffusion-a", "0123")
    assert list(made.provenance) == [
        {"generator": "diffusion-a", "split_digest": "0123", "guidance": 1.5, "seed": seed}
        for seed in (seed_of(7, "dark", 0), seed_of(7, "dark", 1))
    ]
    assert list(made.names) == ["diffusion-a/dark/000000", "diffusion-a/dark/000001"]


def test_larger_quota_begins_with_the_smaller_one(generator: Generator) -> None:
    few = synthesize(generator, {"dark": 2}, 7, "g", "d", batch=3)
    many = synthesize(generator, {"pale": 1, "dark": 5}, 7, "g", "d", batch=3).of_class("dark")
    assert np.mean(np.abs(many.pixels[:2].astype(int) - few.pixels) <= 1) >= 0.999
    other = synthesize(generator, {"dark": 2}, 8, "g", "d")
    assert not np.array_equal(other.pixels, few.pixels)


def test_record_survives_the_disk(generator: Generator, tmp_path: Path) -> None:
    made = synthesize(generator, {"rare": 2, "dark": 1}, 7, "g", "d")
    write_set(made, tmp_path)
    found = read_set(tmp_path)
    assert list(found.provenance) == list(made.provenance)
    assert np.array_equal(found.pixels, made.pixels)


def test_no_quota_no_cells(generator: Generator) -> None:
    assert len(synthesize(generator, {}, 7, "g", "d")) == 0


def test_unknown_class_and_negative_count_are_refused(generator: Generator) -> None:
    with pytest.raises(InputError, match=r"no class 'rara'\. Did you mean 'rare'"):
        synthesize(generator, {"rara": 1}, 7, "g", "d")
    with pytest.raises(InputError, match=r"counts\.rare is -1"):
        synthesize(generator, {"rare": -1}, 7, "g", "d")


def test_the_measured_time_of_a_cell_is_that_of_its_drawing(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    clock = iter(float(i) for i in range(100))

    def sample(labels: Any, seeds: Any) -> Any:
        assert set(labels.tolist()) == {1}, "of the classes that are wanted"
        drawn.append(len(labels))
        for _ in range(len(labels) - 1):  # reading the clock itself is a second
            next(clock)

    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(generator, "sample", sample)
    assert seconds_per_cell(generator, {generator.classes[1]: 50, generator.classes[0]: 0}) == 1
    assert drawn == [2, 2], "cells of a second each: two are enough"
    monkeypatch.setattr("generators.synthesize.TRIAL_SECONDS", 30.0)
    seconds_per_cell(generator, {generator.classes[1]: 9})
    assert drawn[2:] == [2, 9], "no more than there are to draw"
