"""Named public collections in their own layouts: one table says all that differs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cells.archives import ENDINGS, is_archive, unpacked
from cells.boxes import BoxesData, load_boxes
from cells.cellset import Loaded
from cells.download import fetch
from cells.images import SUFFIXES, cache_folder
from cells.manifest import assemble
from cells.trees import FolderData, Found
from runtime.errors import InputError, suggest

PBC_CLASSES = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "ig",
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)


@dataclass(frozen=True)
class Credit:
    """Where images come from and what may be done with them."""

    licence: str
    citation: str


@dataclass(frozen=True)
class Collection:
    """A public collection.

    Attributes:
        licence: As its publisher states it, or ``not established``.
        citation: What to cite, and what to know before relying on the images.
        page: Where people get it.
        archive: What is downloaded there.
        layout: Regular expression for the end of an image's path, without regard to case. Its groups:
            ``label``, and where the path says it ``group``, ``split`` and ``variant``.
        classes: Class of each label in lower case, in order; empty: the labels are the classes.
        fine: Finer class of each prefix of a file name.
        sides: Side of each word that the layout finds as ``split``, in lower case.
        url: A direct address of the archive, where there is a stable one.
        checksum: Of the archive, where one is published.
    """

    licence: str
    citation: str
    page: str
    archive: str
    layout: str
    classes: Mapping[str, str] = field(default_factory=dict)
    fine: Mapping[str, str] = field(default_factory=dict)
    sides: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None
    checksum: str | None = None


COLLECTIONS: dict[str, Collection] = {
    "pbc": Collection(
        licence="CC BY 4.0",
        citation="Acevedo et al., A dataset of microscopic peripheral blood cell images, Data in Brief 30 "
        "(2020), doi 10.1016/j.dib.2020.105474. No patient identifiers are published, so cells of "
        "one patient may be on both sides of a split.",
        page="https://data.mendeley.com/datasets/snkd93bnjr/1",
        archive="PBC_dataset_normal_DIB.zip",
        layout=r"(?P<label>[^/]+)/[^/]+",
        classes={name: name for name in PBC_CLASSES},
        fine={
            "PMY": "promyelocyte",
            "MY": "myelocyte",
            "MMY": "metamyelocyte",
            "IG": "ig",
            "BNE": "band neutrophil",
            "SNE": "segmented neutrophil",
        },
        url="https://prod-dcd-datasets-cache-zipfiles.s3.eu-west-1.amazonaws.com/snkd93bnjr-1.zip",
    ),
    "all-taleqani": Collection(
        licence="not established",
        citation="Aria et al., Acute Lymphoblastic Leukemia (ALL) image dataset, Kaggle (2021), "
        "doi 10.34740/kaggle/dsv/2175623. The images do not say the patient, so fields of one patient "
        "may be on both sides of a split.",
        page="https://www.kaggle.com/datasets/mehradaria/leukemia",
        archive="leukemia.zip",
        layout=r"(?P<variant>original|segmented)/(?P<label>[^/]+)/[^/]+",
        classes={"benign": "Benign", "early": "Early", "pre": "Pre", "pro": "Pro"},
    ),
    "aml-lmu": Collection(
        licence="CC BY 3.0",
        citation="Matek et al., Human-level recognition of blast cells in acute myeloid leukaemia with "
        "convolutional neural networks, Nature Machine Intelligence 1 (2019), "
        "doi 10.1038/s42256-019-0101-9; images: TCIA, doi 10.7937/tcia.2019.36f5o9ld. The images do "
        "not say the patient, so cells of one patient may be on both sides of a split.",
        page="https://doi.org/10.7937/tcia.2019.36f5o9ld",
        archive="AML-Cytomorphology_LMU.zip",
        layout=r"(?P<label>[A-Z]{3})/[A-Z]{3}_[^/]+",
        classes={
            "bas": "basophil",
            "ebo": "erythroblast",
            "eos": "eosinophil",
            "ksc": "smudge cell",
            "lya": "atypical lymphocyte",
            "lyt": "typical lymphocyte",
            "mmz": "metamyelocyte",
            "mob": "monoblast",
            "mon": "monocyte",
            "myb": "myelocyte",
            "myo": "myeloblast",
            "ngb": "band neutrophil",
            "ngs": "segmented neutrophil",
            "pmb": "bilobed promyelocyte",
            "pmo": "promyelocyte",
        },
    ),
    "c-nmc": Collection(
        licence="CC BY 3.0",
        citation="Gupta and Gupta, ALL Challenge dataset of ISBI 2019 (C-NMC 2019), TCIA (2019), "
        "doi 10.7937/tcia.2019.dc64i46r. The group is the subject; the folds are not used, and the "
        "challenge's test images have no labels.",
        page="https://doi.org/10.7937/tcia.2019.dc64i46r",
        archive="C-NMC_training_data.zip",
        layout=r"fold_\d+/(?P<label>[^/]+)/UID_(?P<group>[^_/]+)_[^/]+",
        classes={"all": "blast", "hem": "normal"},
    ),
    "apl": Collection(
        licence="not established",
        citation="Sidhom et al., Deep learning for diagnosis of acute promyelocytic leukemia via recognition "
        "of genomically imprinted morphologic features, npj Precision Oncology 5 (2021), "
        "doi 10.1038/s41698-021-00179-y. The group is the patient; the cells without a type "
        "(Unsigned slides) are passed over.",
        page="https://www.kaggle.com/datasets/eugeneshenderov/acute-promyelocytic-leukemia-apl",
        archive="acute-promyelocytic-leukemia-apl.zip",
        layout=r"(?P<group>Patient_\d+)/Signed slides/(?P<label>[^/]+)/[^/]+",
    ),
    "leukemia": Collection(
        licence="not established",
        citation="Leukemia Dataset, Kaggle (nikhilsharma00). Its origin is not documented; the folder of an "
        "image is its class.",
        page="https://www.kaggle.com/datasets/nikhilsharma00/leukemia-dataset",
        archive="leukemia-dataset.zip",
        layout=r"(?P<label>[^/]+)/[^/]+",
    ),
    "blood-cells": Collection(
        licence="not established (made from BCCD, which is MIT)",
        citation="Mooney, Blood Cell Images, Kaggle (2018). Most images are augmented copies of few: the "
        "group is the original in the file name, and the set's own TRAIN and TEST are joined, as "
        "copies of one original may be in both.",
        page="https://www.kaggle.com/datasets/paultimothymooney/blood-cells",
        archive="blood-cells.zip",
        layout=r"images/(?:TRAIN|TEST)/(?P<group>(?P<label>[^/]+)/_\d+)_[^/]+",
        classes={name.lower(): name for name in ("eosinophil", "lymphocyte", "monocyte", "neutrophil")},
    ),
    "raabin": Collection(
        licence="not established",
        citation="Kouzehkanan et al., A large dataset of white blood cells containing cell locations and "
        "types, along with segmented nuclei and cytoplasm, Scientific Reports 12 (2022), "
        "doi 10.1038/s41598-021-04426-x. Train and TestA are used; TestB, from another microscope and "
        "with two classes only, is passed over.",
        page="https://raabindata.com/free-data/",
        archive="the double-labelled cropped cells, Train and TestA",
        layout=r"(?P<split>Train|TestA)/(?P<label>[^/]+)/[^/]+",
        classes={name: name for name in ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")},
        sides={"train": "train", "testa": "test"},
    ),
    "bccd": Collection(
        licence="MIT",
        citation="Shenggan et al., BCCD Dataset, https://github.com/Shenggan/BCCD_Dataset. The group is the "
        "field.",
        page="https://github.com/Shenggan/BCCD_Dataset",
        archive="BCCD_Dataset-master.zip",
        layout=r"Annotations/[^/]+",
        classes={"Platelets": "platelet", "RBC": "red blood cell", "WBC": "white blood cell"},
        url="https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip",
    ),
    "covid-xray": Collection(
        licence="not established (mixed; some parts forbid commercial use)",
        citation="Ozturk et al., Automated detection of COVID-19 cases using deep neural networks with X-ray "
        "images, Computers in Biology and Medicine 121 (2020), doi 10.1016/j.compbiomed.2020.103792. "
        "The classes come from different sources, which confounds them. X-rays: use no flips or turns.",
        page="https://github.com/muhammedtalo/COVID-19",
        archive="COVID-19-master.zip",
        layout=r"(?P<label>[^/]+)/[^/]+",
        classes={"covid-19": "Covid-19", "no_findings": "No_findings", "pneumonia": "Pneumonia"},
    ),
}
XRAYS = ("covid-xray", "pneumoniamnist", "chestmnist")


class CollectionData(FolderData):
    """A public collection in its own layout.

    Attributes:
        root: The unpacked folder, or the archive; by default a place in the cache, where the archive
            is downloaded to or looked for.
    """

    kind: Literal["aml-lmu", "c-nmc", "apl", "leukemia", "blood-cells", "raabin", "covid-xray"]  # type: ignore[assignment]

    @model_validator(mode="before")
    @classmethod
    def _own_place(cls, values: Any) -> Any:
        return _with_place(values, cls.model_fields["kind"].default)


class PbcData(CollectionData):
    """The peripheral blood cell collection in its own layout, 360×363 px images.

    Attributes:
        crop: 200 px around the center hold the cell and little else.
        fine: Also tell promyelocytes, myelocytes and metamyelocytes, band and segmented neutrophils
            apart, by the prefixes of the file names.
    """

    kind: Literal["pbc"] = "pbc"  # type: ignore[assignment]
    crop: Annotated[int, Field(ge=8)] | None = 200
    fine: bool = False


class TaleqaniData(CollectionData):
    """Acute lymphoblastic leukemia, fields of several cells.

    Attributes:
        variant: The fields as they are, or with all but the blasts blackened.
    """

    kind: Literal["all-taleqani"] = "all-taleqani"  # type: ignore[assignment]
    variant: Literal["original", "segmented"] = "original"


class BccdData(BoxesData):
    """Blood smears with boxes around red cells, white cells and platelets.

    Attributes:
        unreadable: A few of its boxes are empty.
    """

    kind: Literal["bccd"] = "bccd"  # type: ignore[assignment]
    unreadable: Annotated[float, Field(ge=0, lt=1)] = 0.02

    @model_validator(mode="before")
    @classmethod
    def _own_place(cls, values: Any) -> Any:
        return _with_place(values, "bccd")


def _with_place(values: Any, kind: Any) -> Any:
    if isinstance(values, dict) and values.get("root") is None:
        return {**values, "root": place_of(str(values.get("kind", kind)))}
    return values


def place_of(kind: str) -> Path:
    """Where a collection is looked for, or downloaded to, if nothing else is said."""
    return cache_folder() / "sources" / kind


def obtained(kind: str, root: Path) -> Path:
    """The folder with a collection's images: `root` itself, or its archive unpacked.

    Raises:
        InputError: If there is neither and no download; it says which file goes where.
    """
    collection = COLLECTIONS[kind]
    if root.is_dir():
        if any(path.is_dir() and not path.name.startswith(".") for path in root.iterdir()):
            return root
        archives = sorted(path for path in root.iterdir() if is_archive(path))
        if len(archives) > 1:
            raise InputError(
                f"{root}: holds {len(archives)} archives; unpack them there, or set data.root to one."
            )
        if archives:
            return unpacked(archives[0])
    if collection.url and root == place_of(kind):
        return unpacked(fetch(collection.url, root / collection.archive, collection.checksum))
    raise InputError(
        f"{root}: no such folder of {kind} images; get {collection.archive} from {collection.page} and put "
        f"it, packed ({', '.join(ENDINGS)}) or unpacked, into {root}, or set data.root to where it lies."
    )


def load_collection(settings: CollectionData) -> Loaded:
    """Read a collection by its layout; other files are passed over.

    Raises:
        InputError: If no image lies as the layout says, or a class folder is unknown.
    """
    collection = COLLECTIONS[settings.kind]
    layout = re.compile(rf"(?:^|/){collection.layout}$", re.IGNORECASE)
    found, ignored = [], []
    for path in _files(settings.root):
        name = path.relative_to(settings.root).as_posix()
        match = layout.search(name) if path.suffix.lower() in SUFFIXES else None
        item = _found(path, match.groupdict(), settings, collection) if match else None
        if item is None:
            ignored.append(name)
        else:
            found.append(item)
    if not found:
        raise InputError(
            f"{settings.root}: holds no images laid out as {settings.kind} has them ({collection.page}); set "
            "data.root to the unpacked folder, or read it with data.kind=folder."
        )
    return assemble(found, settings, _order(collection, settings), ignored)


def load_bccd(settings: BccdData) -> Loaded:
    """Crop the cells of BCCD."""
    return load_boxes(settings, COLLECTIONS["bccd"].classes)


def _files(root: Path) -> Iterator[Path]:
    """All files of a tree, by name; what hidden folders hold is passed over."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts[:-1]):
            yield path


def _found(
    path: Path, said: Mapping[str, str], settings: CollectionData, collection: Collection
) -> Found | None:
    """One image by what its path says; None for a hidden file or one of another variant."""
    variant = said.get("variant")
    if path.name.startswith(".") or (variant and variant.lower() != getattr(settings, "variant", None)):
        return None
    label = collection.classes.get(said["label"].lower()) if collection.classes else said["label"]
    if label is None:
        raise InputError(
            f"{path.parent}: not a class of {settings.kind.upper()}."
            f"{suggest(said['label'].lower(), collection.classes)} Rename or remove the folder, or use "
            "data.kind=folder."
        )
    if getattr(settings, "fine", False):
        label = collection.fine.get(path.name.split("_")[0].upper(), label)
    side = collection.sides.get(said.get("split", "").lower(), "")
    group = said.get("group") if settings.group is None else None
    return Found(path, label, side, {"group": group} if group else {})


def _order(collection: Collection, settings: CollectionData) -> list[str]:
    finer = collection.fine.values() if getattr(settings, "fine", False) else ()
    return list(dict.fromkeys([*collection.classes.values(), *finer]))
