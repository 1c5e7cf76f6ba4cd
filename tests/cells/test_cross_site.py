import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cells import CellSet
from cells.audit import Audited, audit
from cells.sources import CREDITS, CrossSiteData, DataSettings, credit_of, is_xray, located, read
from cells.split import LeakError, SplitSettings, divide
from runtime.config import Settings, load_config, to_dict
from runtime.errors import InputError


class Holder(Settings):
    data: DataSettings


def site(root: Path, counts: dict[str, int], seed: int, size: int = 16) -> Path:
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"p{i // 2}_{i}.png")
    return root


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return site(tmp_path / "here", {"basophil": 12, "neutrophil": 20}, 0)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return site(tmp_path / "there", {"Baso": 4, "band": 3, "segmented": 5, "smudge": 2}, 1)


NAMES = {"Baso": "basophil", "band": "neutrophil", "segmented": "neutrophil", "smudge": None}


def settings(here: Path, there: Path, **words: Any) -> CrossSiteData:
    plain = {
        "kind": "cross_site",
        "train": {"kind": "folder", "root": here, "image_size": 16, "group": r"/(p\d+)_"},
        "test": {"kind": "folder", "root": there, "image_size": 16, "group": r"/(p\d+)_"},
        "classes": NAMES,
    }
    return CrossSiteData.model_validate({**plain, **words})


def cells_of(here: Path, there: Path, **words: Any) -> CellSet:
    return read(settings(here, there, **words)).cells


def test_train_is_one_site_and_test_the_other(here: Path, there: Path) -> None:
    split = divide(cells_of(here, there), SplitSettings(fractions=(0.6, 0.2, 0.2)))
    assert split.train.classes == ("basophil", "neutrophil")
    assert split.test.counts == {"basophil": 4, "neutrophil": 8}, "mapped, merged, and smudges left out"
    assert split.train.counts["neutrophil"] + split.val.counts["neutrophil"] == 20
    assert split.val.counts["basophil"] >= 2, "val is carved out of train"
    for part, prefix in ((split.train, "train/"), (split.val, "train/"), (split.test, "test/")):
        assert all(name.startswith(prefix) for name in part.names)


def test_patients_of_one_name_are_not_the_same_at_two_sites(here: Path, there: Path) -> None:
    cells = cells_of(here, there)
    assert {"train/p0", "test/p0"} <= set(cells.groups)
    split = divide(cells, SplitSettings())
    assert not set(split.train.groups) & set(split.val.groups)


def test_the_labels_are_those_of_the_images(here: Path, there: Path) -> None:
    cells = cells_of(here, there)
    for name, label, pixels in zip(cells.names, cells.labels, cells.pixels, strict=True):
        where, folder, file = name.split("/")
        root = here if where == "train" else there
        with Image.open(root / folder / file) as image:
            assert np.array_equal(np.asarray(image), pixels)
        assert cells.classes[label] == (folder if where == "train" else NAMES[folder])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"classes": {**NAMES, "Bas": "basophil"}}, "data.test has no class 'Bas'.*'Baso'"),
        ({"classes": {**NAMES, "Baso": "basofil"}}, "data.train has no class 'basofil'.*'basophil'"),
        ({"classes": {**NAMES, "Baso": None}}, "data.train has class 'basophil', and no class of data.test"),
        (
            {"classes": {k: v for k, v in NAMES.items() if k != "smudge"}},
            r"data.test has class 'smudge'.*\{smudge: null\}",
        ),
        ({"classes": {**NAMES, "Baso": ""}, "drop_unmatched": True}, "share 1 class"),
    ],
)
def test_classes_of_one_site_only_are_refused(
    words: dict[str, Any], message: str, here: Path, there: Path
) -> None:
    with pytest.raises(InputError, match=message):
        cells_of(here, there, **words)


def test_classes_of_train_alone_are_left_out_on_demand(tmp_path: Path, there: Path) -> None:
    more = site(tmp_path / "more", {"basophil": 12, "blast": 9, "neutrophil": 20}, 0)
    with pytest.raises(InputError, match=r"class 'blast'.*data\.drop_unmatched=true"):
        cells_of(more, there)
    cells = cells_of(more, there, drop_unmatched=True)
    assert cells.counts == {"basophil": 16, "neutrophil": 28}
    assert not any("blast" in name for name in cells.names)


def test_classes_of_the_same_names_need_no_map(tmp_path: Path, here: Path) -> None:
    other = site(tmp_path / "other", {"basophil": 3, "neutrophil": 3}, 5)
    assert cells_of(here, other, classes={}).counts == {"basophil": 15, "neutrophil": 23}


def test_one_image_of_a_class_is_enough_to_test_on(here: Path, tmp_path: Path) -> None:
    there = site(tmp_path / "few", {"basophil": 1, "neutrophil": 3}, 3)
    assert cells_of(here, there, classes={}).counts == {"basophil": 13, "neutrophil": 23}
    with pytest.raises(InputError, match=r"^data\.train: .*basophil: has one image"):
        cells_of(there, here, classes={})


def test_a_test_site_of_one_class_is_asked_what_it_shares(here: Path, tmp_path: Path) -> None:
    there = site(tmp_path / "one", {"basophil": 5}, 3)
    with pytest.raises(InputError, match=r"share 1 class.*are of 'basophil', who always.*a second class"):
        cells_of(here, there, classes={}, drop_unmatched=True)


def test_a_class_that_is_left_out_is_not_read(here: Path, there: Path) -> None:
    before = cells_of(here, there)
    for path in (there / "smudge").iterdir():
        path.write_bytes(b"no image")
    after = cells_of(here, there)
    assert list(after.names) == list(before.names) and after.classes == before.classes
    for path in (there / "smudge").iterdir():
        path.unlink()
    assert list(cells_of(here, there).names) == list(before.names)


def test_a_listed_site_may_have_one_image_of_a_class(here: Path, there: Path) -> None:
    rows = ["file,label,split", "Baso/p0_0.png,basophil,test", "smudge/p0_0.png,smudge,"]
    rows += [f"segmented/p{i // 2}_{i}.png,neutrophil,test" for i in range(3)]
    (there / "cells.csv").write_text("\n".join(rows))
    (there / "smudge" / "p0_0.png").write_bytes(b"no image")
    listed = {"kind": "manifest", "root": there / "cells.csv", "image_size": 16}
    cells = cells_of(here, there, test=listed, classes={"smudge": None})
    assert cells.counts == {"basophil": 13, "neutrophil": 23}


def test_the_keys_of_a_site_are_named_in_full(tmp_path: Path, there: Path) -> None:
    one = site(tmp_path / "one", {"basophil": 5}, 3)
    with pytest.raises(InputError, match=r"^data\.train: folder gives 1 class"):
        cells_of(one, there)
    wrong = {"kind": "folder", "root": there, "image_size": 16, "classes": ["Bas"]}
    with pytest.raises(InputError, match=r"^data\.test\.classes: .*no class 'Bas'"):
        cells_of(site(tmp_path / "two", {"basophil": 5, "neutrophil": 5}, 3), there, test=wrong)


def test_sizes_must_agree(here: Path, there: Path) -> None:
    small = {"kind": "folder", "root": there, "image_size": 8}
    with pytest.raises(InputError, match=r"train have 16 px and those of test 8; set data\.train"):
        cells_of(here, there, test=small)


def test_what_is_wrong_with_a_site_names_the_site(here: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.test: .*nowhere: no such folder"):
        cells_of(here, tmp_path / "nowhere")


def test_an_image_of_both_sites_is_a_leak(here: Path, there: Path) -> None:
    (there / "Baso" / "p0_0.png").write_bytes((here / "basophil" / "p3_7.png").read_bytes())
    cells = cells_of(here, there)
    with pytest.raises(LeakError, match=r"train/basophil/p3_7\.png: the same image is in train and in test"):
        divide(cells, SplitSettings())
    assert "train/basophil/p3_7.png" not in divide(cells, SplitSettings(leaks="drop")).train.names


def test_a_split_that_a_site_comes_with_is_not_used(tmp_path: Path, there: Path) -> None:
    root = tmp_path / "split"
    for seed, side in enumerate(("train", "test")):
        site(root / side, {"basophil": 6, "neutrophil": 6}, seed + 7)
    cells = cells_of(root, there, train={"kind": "split_folder", "root": root, "image_size": 16})
    assert sum(cells.splits == "train") == 24


def test_the_audit_credits_both_and_looks_at_the_files_of_both(here: Path, there: Path) -> None:
    (here / "notes.txt").write_text("x")
    data = settings(here, there)
    loaded = read(data)
    facts = audit(Audited(loaded, [], divide(loaded.cells, SplitSettings())), located(data))
    assert facts["source_sizes"] == {"16×16": 44} and facts["source_modes"] == {"RGB": 44}
    assert facts["ignored"] == ["train/notes.txt"]
    assert facts["source"] == "cross_site" and facts["licence"] == CREDITS["folder"].licence


def test_credits_of_two_collections_name_both() -> None:
    plain = {
        "kind": "cross_site",
        "train": {"kind": "pbc", "root": "x"},
        "test": {"kind": "bccd", "root": "y"},
    }
    credit = credit_of(CrossSiteData.model_validate(plain))
    for kind in ("pbc", "bccd"):
        assert CREDITS[kind].licence in credit.licence and CREDITS[kind].citation in credit.citation
    xrays = {**plain, "test": {"kind": "pneumoniamnist"}}
    assert is_xray(CrossSiteData.model_validate(xrays)) and not is_xray(CrossSiteData.model_validate(plain))


def test_it_is_configured_like_any_source() -> None:
    words = ["data.kind=cross_site", "data.train.kind=pbc", "data.train.root=x", "data.test.kind=raabin"]
    made = load_config(Holder, None, [*words, "data.test.root=y", "data.classes={Baso: basophil}"])
    assert Holder.model_validate(to_dict(made)) == made
    for extra, message in (
        ("data.train.fin=true", r"unknown key 'data\.train\.fin'.*'fine'"),
        ("data.test.kind=rabin", r"data\.test.*raabin"),
        ("data.test.kind=cross_site", r"data\.test.*cross_site"),
        ("data.clases={}", r"unknown key 'data\.clases'.*'classes'"),
    ):
        with pytest.raises(InputError, match=message):
            load_config(Holder, None, [*words, "data.test.root=y", extra])


def test_the_example_of_the_docs_is_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "cross_site" in block]
    data = Holder.model_validate(yaml.safe_load(block)).data
    assert isinstance(data, CrossSiteData) and data.drop_unmatched


def test_real_cells_that_two_sources_share_are_found(shared: Path) -> None:
    common = {"image_size": 28, "classes": ["basophil", "lymphocyte"]}
    plain = {
        "kind": "cross_site",
        "train": {"kind": "pbc", "root": shared / "data" / "pbc-original-sample", **common},
        "test": {"kind": "split_folder", "root": shared / "data" / "pbc-lt-128", **common},
    }
    cells = read(CrossSiteData.model_validate(plain)).cells
    # Other files, decoded, resized and saved anew: no pixels are equal, and yet all are the same cells.
    with pytest.raises(LeakError, match=r"nearly the same image .* in train and in test \(80 such cells\)"):
        divide(cells, SplitSettings())
