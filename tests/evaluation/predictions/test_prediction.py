"""What is flagged as unlike the training cells, and how often what is not."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from cells.preprocessing import Preprocessing
from cells.steps import Gamma
from classifiers.training import Classifier, ClassifierSettings
from evaluation.predictions.inputs import find_files
from evaluation.predictions.known import Known, View, appearance, whitening
from evaluation.predictions.page import overlay, slices_shown
from evaluation.predictions.prediction import UNLIKE, Labeler, Row, write_csv
from runtime.errors import InputError

SIZE = 24
TRAIN, HELD_OUT, UNSEEN = (
    phantoms(dict.fromkeys(CLASSES, count), SIZE, seed) for count, seed in ((20, 1), (34, 2), (40, 3))
)


@pytest.fixture(scope="module")
def net() -> Classifier:
    recipe = ClassifierSettings(network="fast", width=8, steps=40, batch=32)
    return Classifier(TRAIN.classes, recipe).fit(TRAIN, seed=0)


@pytest.fixture(scope="module")
def known(net: Classifier) -> Known:
    return Known.fit(net, TRAIN, HELD_OUT)


def share_flagged(known: Known, net: Classifier, cells: CellSet, rate: float) -> float:
    found = known.familiarity(net, cells)
    return float(np.mean(np.min(list(found.values()), axis=0) <= known.threshold(rate)))


def images(kind: str) -> CellSet:
    """Forty images of something else."""
    draws = np.random.default_rng(0)
    cells = UNSEEN.subset(np.arange(0, len(UNSEEN), 6)).pixels
    if kind == "noise":
        pixels = draws.integers(0, 256, cells.shape)
    elif kind == "gray":  # as an X-ray: equal channels, dark edges, soft
        y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
        pixels = (200 * np.exp(-(x**2 + y**2) / draws.uniform(0.3, 1.5, (len(cells), 1, 1))))[..., None]
        pixels = np.repeat(pixels, 3, axis=3)
    elif kind == "plain":
        pixels = np.broadcast_to(draws.integers(0, 256, (len(cells), 1, 1, 3)), cells.shape)
    else:
        pixels = cells[..., ::-1]  # another stain
    return CellSet.from_arrays(pixels.astype(np.uint8), [0] * len(cells), TRAIN.classes)


@pytest.mark.parametrize("kind", ["noise", "gray", "plain", "other stain"])
def test_what_is_something_else_is_flagged(kind: str, known: Known, net: Classifier) -> None:
    assert share_flagged(known, net, images(kind), 0.01) >= 0.95


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_unseen_cells_are_flagged_no_more_often_than_was_asked(
    rate: float, known: Known, net: Classifier
) -> None:
    error = 3 * np.sqrt(rate * (1 - rate) * (1 / len(UNSEEN) + 1 / len(HELD_OUT)))
    assert share_flagged(known, net, UNSEEN, rate) <= rate + error
    assert share_flagged(known, net, UNSEEN, 0.2) > 0  # and the flag is not dead


def test_familiarity_is_uniform_for_points_of_the_same_kind() -> None:
    train, held_out, unseen = np.random.default_rng(1).normal(size=(3, 400, 3)).astype(np.float32)
    found = View.fit(train, held_out).familiarity(unseen)
    for rate in (0.05, 0.25, 0.5, 0.75):
        assert (found <= rate).mean() == pytest.approx(rate, abs=0.08)
    far = View.fit(train, held_out).familiarity(unseen + 50)
    assert far == pytest.approx(np.full(400, 1 / 401))


def test_distances_are_those_of_sklearn() -> None:
    train, others = np.random.default_rng(2).normal(size=(2, 60, 4)).astype(np.float32)
    view = View.fit(train * [1, 10, 0.1, 5], others * [1, 10, 0.1, 5])
    expected, _ = NearestNeighbors(n_neighbors=5).fit(view.bank).kneighbors(view.points(others))
    assert view.distances(others) == pytest.approx(expected.mean(axis=1), rel=1e-4)


def test_whitened_cells_vary_alike_in_every_direction() -> None:
    draws = np.random.default_rng(3)
    seen = (draws.normal(size=(2000, 3)) @ [[5, 0.6, 0], [0, 1, 0], [0, 0, 0.2]] + 7).astype(np.float32)
    points = (seen - seen.mean(axis=0)) @ whitening(seen)
    assert np.cov(points.T) == pytest.approx(np.eye(3), abs=0.06)
    constant = np.ones((20, 3), np.float32)
    assert np.isfinite(whitening(constant)).all()


def test_few_held_out_cells_set_the_rate(net: Classifier) -> None:
    few = Known.fit(net, TRAIN, HELD_OUT.subset(np.arange(9)))
    assert few.threshold(0.01) == pytest.approx(0.1)
    assert few.threshold(0.5) == pytest.approx(0.25)


def test_synthetic_cells_are_not_what_the_training_set_looks_like(net: Classifier, known: Known) -> None:
    noise = images("noise")
    made = CellSet.from_arrays(noise.pixels, noise.labels, TRAIN.classes, origin="synthetic")
    mixed = Known.fit(net, TRAIN + made, HELD_OUT)
    for name, view in mixed.views.items():
        np.testing.assert_array_equal(view.bank, known.views[name].bank)


def test_saved_and_read_again_it_is_the_same(net: Classifier, known: Known, tmp_path: Path) -> None:
    assert Known.load(tmp_path) is None
    net.save(tmp_path)
    known.save(tmp_path)
    again = Known.load(tmp_path)
    assert again is not None
    for name, found in known.familiarity(net, UNSEEN).items():
        np.testing.assert_array_equal(again.familiarity(net, UNSEEN)[name], found)


def test_that_of_another_classifier_or_damaged_is_refused(
    net: Classifier, known: Known, tmp_path: Path
) -> None:
    net.save(tmp_path)
    known.save(tmp_path)
    content = (tmp_path / "known.safetensors").read_bytes()
    (tmp_path / "known.safetensors").write_bytes(content[:-1] + b"x")
    with pytest.raises(InputError, match=r"known\.safetensors: does not match the digest"):
        Known.load(tmp_path)
    (tmp_path / "known.safetensors").write_bytes(content)
    record = json.loads((tmp_path / "known.json").read_text())
    (tmp_path / "known.json").write_text(json.dumps({**record, "weights_sha256": "0"}))
    with pytest.raises(InputError, match="belongs to another classifier"):
        Known.load(tmp_path)


def test_appearance_does_not_depend_on_neighbors_and_sees_color_and_texture() -> None:
    whole = appearance(UNSEEN.pixels)
    assert whole.shape == (len(UNSEEN), 24) and np.isfinite(whole).all()
    np.testing.assert_allclose(appearance(UNSEEN.pixels[5:6])[0], whole[5], rtol=1e-4, atol=1e-5)
    assert appearance(UNSEEN.pixels[:0]).shape == (0, 24)
    turned = appearance(np.rot90(UNSEEN.pixels, axes=(1, 2)).copy())
    np.testing.assert_allclose(turned, whole, rtol=1e-3, atol=1e-4)  # a turn is neither


def test_a_folder_without_a_config_is_refused(net: Classifier, tmp_path: Path) -> None:
    net.save(tmp_path)
    with pytest.raises(InputError, match="give a folder that train_classifier wrote"):
        Labeler(tmp_path, 0.01)


def test_a_folder_that_lacks_its_preprocessing_is_refused(net: Classifier, tmp_path: Path) -> None:
    """Images would go to the network unlike those of the training."""
    net.save(tmp_path)
    (tmp_path / "config.yaml").write_text("data: {kind: phantom}\npreprocess: [{kind: gamma, gamma: 0.5}]\n")
    with pytest.raises(InputError, match=r"no preprocessing\.json, and the training images were"):
        Labeler(tmp_path, 0.01)
    Preprocessing.fit((Gamma(),), TRAIN).save(tmp_path)
    assert Labeler(tmp_path, 0.01).preprocessing is not None


def test_files_are_found_below_the_folder_but_not_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.JPG", "a/d/e.tif", ".hidden/f.png", "a/.g.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_files(tmp_path)]
    assert found == ["a/c.JPG", "a/d/e.tif", "b.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images in it or below it"):
        find_files(tmp_path / "empty")


def test_the_table_has_every_file_and_survives_commas(tmp_path: Path) -> None:
    rows = [Row("a,b.png", 1, (0.25, 0.75), 0.004, UNLIKE, "color and texture"), Row("c.png")]
    write_csv(rows, ("x", "y"), tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "file,class,probability,flag,reason,familiarity,probability of x,probability of y"
    assert (
        lines[1] == '"a,b.png",y,0.750000,unlike training cells,color and texture,0.00400,0.250000,0.750000'
    )
    assert lines[2] == "c.png,,,,,,,"


def test_the_map_warms_the_image_where_it_is_high() -> None:
    found = np.zeros((8, 8), np.float32)
    found[:, 4:] = 1
    drawn = np.asarray(overlay(Image.new("RGB", (64, 64), (128, 128, 128)), found)).astype(int)
    warmth = drawn[..., 0] - drawn[..., 2]
    assert warmth[:, 40:].min() > warmth[:, :20].max() + 40


def stacks(cells: CellSet, change: str = "") -> CellSet:
    """Two images of each cell: as it is, and darker."""
    pixels = np.stack([cells.pixels, cells.pixels // 2], axis=1)
    if change == "order":
        pixels = pixels[:, ::-1]
    elif change == "one image":
        pixels[:, 1] = np.random.default_rng(0).integers(0, 128, cells.pixels.shape)
    said = [{"stack": str(row), "index": index} for row in range(len(cells)) for index in range(2)]
    flat = pixels.reshape(-1, SIZE, SIZE, 3)
    return CellSet.from_arrays(flat, cells.labels.repeat(2), cells.classes, provenance=said)


def test_stacks_are_flagged_for_one_strange_image_and_for_their_order() -> None:
    recipe = ClassifierSettings(network="cnn3d", width=4, steps=2, batch=8)
    some = [cells.subset(np.arange(0, len(cells), 2)) for cells in (TRAIN, HELD_OUT, UNSEEN)]
    train, held_out, unseen = map(stacks, some)
    net = Classifier(train.classes, recipe).fit(train, seed=0)
    known = Known.fit(net, train, held_out)
    assert len(known.views["features"].held_out) == len(some[1])
    assert share_flagged(known, net, unseen, 0.05) <= 0.12
    for change in ("order", "one image"):
        assert share_flagged(known, net, stacks(some[2], change), 0.05) >= 0.95


def test_of_deep_stacks_some_images_are_shown_the_ends_among_them() -> None:
    assert slices_shown(2) == [0, 1] and slices_shown(6) == list(range(6))
    for depth in (7, 20, 101):
        shown = slices_shown(depth)
        assert (shown[0], shown[-1], len(shown)) == (0, depth - 1, 6) and len(set(shown)) == 6
