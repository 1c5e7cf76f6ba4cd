"""Each collection on a miniature of its real layout, and on real files where there are some."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from cells.cellset import Loaded
from cells.collections import COLLECTIONS, CollectionData, PbcData
from cells.sources import CREDITS, DataSettings, is_xray, located, read
from runtime.config import Settings, load_config
from runtime.errors import InputError


class Holder(Settings):
    data: DataSettings


def settings_of(**values: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(DataSettings)
    return adapter.validate_python(values)


def image(path: Path, seed: int = 0, size: int = 24, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.as_posix().encode()]).integers(
        0, 256, (size, size, 3), np.uint8
    )
    Image.fromarray(pixels).save(path, **options)


def images(root: Path, *names: str) -> Path:
    for name in names:
        image(root / name)
    return root


LAYOUTS: dict[str, tuple[list[str], dict[str, int], set[str]]] = {
    # files; cells per class; files passed over
    "pbc": (
        [
            f"PBC_dataset_normal_DIB/{folder}/{prefix}_{i}.jpg"
            for folder, prefix in (
                ("basophil", "BA"),
                ("ig", "MMY"),
                ("ig", "IG"),
                ("neutrophil", "SNE"),
                ("neutrophil", "NEUTROPHIL"),
            )
            for i in (101, 102)
        ]
        + ["PBC_dataset_normal_DIB/neutrophil/.DS_169665.jpg"],
        {"basophil": 2, "ig": 4, "neutrophil": 4},
        {"PBC_dataset_normal_DIB/neutrophil/.DS_169665.jpg"},
    ),
    "all-taleqani": (
        [
            f"{variant}/{name}/WBC-{name}-00{i}.jpg"
            for variant in ("Original", "Segmented")
            for name in ("Benign", "Early", "Pre", "Pro")
            for i in (1, 2)
        ],
        {"Benign": 2, "Early": 2, "Pre": 2, "Pro": 2},
        {
            f"Segmented/{name}/WBC-{name}-00{i}.jpg"
            for name in ("Benign", "Early", "Pre", "Pro")
            for i in (1, 2)
        },
    ),
    "aml-lmu": (
        [
            f"AML-Cytomorphology_LMU/{code}/{code}_000{i}.tiff"
            for code in ("BAS", "MYO", "PMB")
            for i in (1, 2)
        ],
        {"basophil": 2, "myeloblast": 2, "bilobed promyelocyte": 2},
        set(),
    ),
    "c-nmc": (
        [
            f"C-NMC_training_data/fold_{fold}/all/UID_{subject}_{i}_1_all.bmp"
            for fold, subject in ((0, "11"), (1, "52"))
            for i in (1, 2)
        ]
        + [f"C-NMC_training_data/fold_2/hem/UID_H10_{i}_1_hem.bmp" for i in (1, 2)]
        + ["C-NMC_test_prelim_phase_data/1.bmp"],
        {"blast": 4, "normal": 2},
        {"C-NMC_test_prelim_phase_data/1.bmp"},
    ),
    "apl": (
        [
            f"All/All/Patient_0{patient}/Signed slides/{name}/JH{i}.jpg"
            for patient in (0, 1)
            for name in ("Blast (no lineage spec)", "Promyelocyte")
            for i in (1, 2)
        ]
        + ["All/All/Patient_01/Unsigned slides/JH9.jpg"],
        {"Blast (no lineage spec)": 4, "Promyelocyte": 4},
        {"All/All/Patient_01/Unsigned slides/JH9.jpg"},
    ),
    "leukemia": (
        [f"Leukemia/{name}/Im00{i}.jpg" for name in ("Benign", "Malignant") for i in (1, 2)],
        {"Benign": 2, "Malignant": 2},
        set(),
    ),
    "blood-cells": (
        [
            f"dataset2-master/dataset2-master/images/{side}/{name}/_{i}_{100 + i}.jpeg"
            for side in ("TRAIN", "TEST", "TEST_SIMPLE")
            for name in ("EOSINOPHIL", "LYMPHOCYTE")
            for i in (0, 1)
        ]
        + ["dataset-master/dataset-master/JPEGImages/BloodImage_00000.jpg"],
        {"eosinophil": 4, "lymphocyte": 4},
        {
            f"dataset2-master/dataset2-master/images/TEST_SIMPLE/{name}/_{i}_{100 + i}.jpeg"
            for name in ("EOSINOPHIL", "LYMPHOCYTE")
            for i in (0, 1)
        }
        | {"dataset-master/dataset-master/JPEGImages/BloodImage_00000.jpg"},
    ),
    "raabin": (
        [
            f"{side}/{name}/20190526_16{i}.jpg"
            for side in ("Train", "TestA", "TestB")
            for name in ("Basophil", "Monocyte")
            for i in (1, 2)
        ],
        {"basophil": 4, "monocyte": 4},
        {f"TestB/{name}/20190526_16{i}.jpg" for name in ("Basophil", "Monocyte") for i in (1, 2)},
    ),
    "covid-xray": (
        [
            f"X-Ray Image DataSet/{name}/{i}.jpg"
            for name in ("Covid-19", "No_findings", "Pneumonia")
            for i in (1, 2)
        ],
        {"Covid-19": 2, "No_findings": 2, "Pneumonia": 2},
        set(),
    ),
}


def miniature(kind: str, root: Path, **settings: Any) -> Loaded:
    images(root, *LAYOUTS[kind][0])
    return read(settings_of(kind=kind, root=root, image_size=16, crop=None, **settings))


def test_every_collection_has_a_miniature() -> None:
    assert set(LAYOUTS) == set(COLLECTIONS) - {"bccd"}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_collection_is_read_in_its_own_layout(kind: str, tmp_path: Path) -> None:
    loaded = miniature(kind, tmp_path / "root")
    assert loaded.cells.counts == LAYOUTS[kind][1]
    assert set(loaded.ignored) == LAYOUTS[kind][2]
    assert (tmp_path / "root" / loaded.cells.names[0]).is_file()
    assert CREDITS[kind].licence and CREDITS[kind].citation.startswith(COLLECTIONS[kind].citation)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_collection_is_read_from_its_archive(kind: str, tmp_path: Path) -> None:
    direct = miniature(kind, tmp_path / "root")
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (tmp_path / "root").rglob("*"):
            file.write(path, path.relative_to(tmp_path / "root"))
    packed = read(settings_of(kind=kind, root=archive, image_size=16, crop=None))
    assert packed.cells.digest == direct.cells.digest
    assert list(packed.cells.groups) == list(direct.cells.groups)


def test_the_finer_classes_of_pbc(tmp_path: Path) -> None:
    counts = miniature("pbc", tmp_path, fine=True).cells.counts
    assert counts == {"basophil": 2, "ig": 2, "neutrophil": 2, "metamyelocyte": 2, "segmented neutrophil": 2}


def test_the_segmented_variant(tmp_path: Path) -> None:
    cells = miniature("all-taleqani", tmp_path, variant="segmented").cells
    assert {name.split("/")[0] for name in cells.names} == {"Segmented"}


def test_groups_are_subjects_patients_and_originals(tmp_path: Path) -> None:
    groups = {
        kind: set(miniature(kind, tmp_path / kind).cells.groups) for kind in ("c-nmc", "apl", "blood-cells")
    }
    assert groups["c-nmc"] == {"11", "52", "H10"}
    assert groups["apl"] == {"Patient_00", "Patient_01"}
    assert groups["blood-cells"] == {"EOSINOPHIL/_0", "EOSINOPHIL/_1", "LYMPHOCYTE/_0", "LYMPHOCYTE/_1"}


def test_raabin_keeps_its_split_and_blood_cells_does_not(tmp_path: Path) -> None:
    assert set(miniature("raabin", tmp_path / "r").cells.splits) == {"train", "test"}
    assert set(miniature("blood-cells", tmp_path / "b").cells.splits) == {""}


def test_an_unknown_class_folder_is_refused(tmp_path: Path) -> None:
    images(tmp_path, "Train/Basophl/1.jpg")
    with pytest.raises(InputError, match=r"Basophl: not a class of RAABIN.*'basophil'"):
        read(settings_of(kind="raabin", root=tmp_path))


def test_another_layout_is_refused(tmp_path: Path) -> None:
    images(tmp_path, "x/y.jpg")
    with pytest.raises(InputError, match=r"no images laid out as c-nmc"):
        read(settings_of(kind="c-nmc", root=tmp_path))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere.*AML-Cytomorphology_LMU\.zip from https://doi.*tcia.*into"
    ):
        read(settings_of(kind="aml-lmu", root=tmp_path / "nowhere"))
    default = settings_of(kind="apl")
    assert default.root == tmp_path / "cache" / "sources" / "apl"
    with pytest.raises(InputError, match=r"cache/sources/apl.*kaggle\.com"):
        read(default)
    with pytest.raises(InputError, match="no such folder"):
        read(PbcData(root=tmp_path / "typo"))  # never downloaded to a place that may be a slip


def test_a_download_is_unpacked_even_if_packed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path / "root", *LAYOUTS["pbc"][0])
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        for path in (tmp_path / "root").rglob("*.jpg"):
            file.write(path, path.relative_to(tmp_path / "root"))

    def retrieve(url: str, known_hash: None, fname: str, path: Path, progressbar: bool) -> str:
        with zipfile.ZipFile(path / fname, "w") as file:
            file.writestr("PBC_dataset_normal_DIB.zip", inner.getvalue())
        return str(path / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    settings = settings_of(kind="pbc", crop=None, image_size=16)
    assert read(settings).cells.counts == LAYOUTS["pbc"][1]
    monkeypatch.delattr("pooch.retrieve")
    assert read(settings).cells.counts == LAYOUTS["pbc"][1]
    archive = settings.root / "PBC_dataset_normal_DIB.zip"
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(InputError, match="is not the file that was downloaded first"):
        read(settings)


def test_an_archive_in_the_folder_is_found(tmp_path: Path) -> None:
    images(tmp_path / "root", *LAYOUTS["raabin"][0])
    place = settings_of(kind="raabin").root
    place.mkdir(parents=True)
    for name in ("a.zip", "b.zip"):
        with zipfile.ZipFile(place / name, "w") as file:
            for path in (tmp_path / "root").rglob("*.jpg"):
                file.write(path, path.relative_to(tmp_path / "root"))
    with pytest.raises(InputError, match="holds 2 archives"):
        read(settings_of(kind="raabin"))
    (place / "b.zip").unlink()
    assert len(read(settings_of(kind="raabin", image_size=16)).cells) == 8
    assert (located(settings_of(kind="raabin")).root / "Train" / "Basophil").is_dir()


def test_settings_of_one_collection_are_not_those_of_another() -> None:
    with pytest.raises(InputError, match=r"unknown key 'data\.fine'"):
        load_config(Holder, None, ["data.kind=raabin", "data.fine=true"])
    with pytest.raises(InputError, match=r"'data\.kind' = 'raabim'.*'raabin'"):
        load_config(Holder, None, ["data.kind=raabim"])
    with pytest.raises(ValueError, match="kind"):
        CollectionData(root=Path("x"))  # type: ignore[call-arg]


def test_medmnist_sets_are_kinds() -> None:
    blood = load_config(Holder, None, ["data.kind=bloodmnist"]).data
    assert (blood.kind, blood.name) == ("bloodmnist", "bloodmnist")
    with pytest.raises(InputError, match="leave one out"):
        load_config(Holder, None, ["data.kind=bloodmnist", "data.name=pathmnist"])
    with pytest.raises(InputError, match=r"'bloodmnst'.*'bloodmnist'"):
        load_config(Holder, None, ["data.kind=bloodmnst"])


def test_xrays_are_known() -> None:
    assert is_xray(settings_of(kind="covid-xray"))
    assert is_xray(settings_of(kind="medmnist", name="x/pneumoniamnist.npz"))
    assert is_xray(settings_of(kind="pneumoniamnist"))
    assert not is_xray(settings_of(kind="pbc"))


def test_licences_and_names_are_those_of_medmnist() -> None:
    from medmnist import INFO

    from cells.medmnist import SETS

    single = {
        name: known["license"]
        for name, known in INFO.items()
        if not name.endswith("3d") and "multi-label" not in known["task"]
    }
    assert single == SETS


def test_real_collections(shared: Path) -> None:
    data = shared / "data"
    fine = read(PbcData(root=data / "pbc-original-sample", image_size=28, fine=True)).cells
    assert fine.counts == {
        "basophil": 40,
        "eosinophil": 40,
        "erythroblast": 40,
        "ig": 5,
        "lymphocyte": 40,
        "monocyte": 40,
        "platelet": 40,
        "promyelocyte": 6,
        "myelocyte": 16,
        "metamyelocyte": 13,
        "band neutrophil": 19,
        "segmented neutrophil": 21,
    }
    leukemia = {"kind": "all-taleqani", "root": data / "all-taleqani-sample", "image_size": 28}
    assert set(read(settings_of(**leukemia)).cells.counts.values()) == {200}
    assert set(read(settings_of(**leukemia, variant="segmented")).cells.counts.values()) == {20}
    chest = read(settings_of(kind="covid-xray", root=data / "chest-xray-sample", image_size=28)).cells
    assert chest.counts == {"Covid-19": 100, "No_findings": 100, "Pneumonia": 100}
    pneumonia = settings_of(kind="pneumoniamnist", name=str(data / "pneumoniamnist.npz"))
    assert read(pneumonia).cells.counts == {"normal": 1583, "pneumonia": 4273}
