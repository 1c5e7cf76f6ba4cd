"""MedMNIST's files: images and labels of an official split in one ``.npz``."""

import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cells.cellset import CellSet
from cells.download import fetch
from cells.images import cache_folder, fit_square
from runtime.config import Settings
from runtime.errors import InputError, suggest

SIDES = ("train", "val", "test")
SIZES = (28, 64, 128, 224)

# The 2D sets with one label an image, by name, with their licences.
SETS = {
    "bloodmnist": "CC BY 4.0",
    "breastmnist": "CC BY 4.0",
    "dermamnist": "CC BY-NC 4.0",
    "octmnist": "CC BY 4.0",
    "organamnist": "CC BY 4.0",
    "organcmnist": "CC BY 4.0",
    "organsmnist": "CC BY 4.0",
    "pathmnist": "CC BY 4.0",
    "pneumoniamnist": "CC BY 4.0",
    "retinamnist": "CC BY 4.0",
    "tissuemnist": "CC BY 4.0",
}

Size = Annotated[int, Field(ge=8, le=1024)]
Modality = Literal["auto", "microscopy", "xray"]


class MedmnistData(Settings):
    """A MedMNIST set of 2D images with one label each, official split.

    Attributes:
        kind: ``medmnist``, or the name of a set.
        name: The set's name, e.g. ``bloodmnist``, or the path of an ``.npz`` file with the arrays
            ``train_images``, ``train_labels``, …. Where `kind` names the set: that, or its file.
        image_size: By name: 28, 64, 128 or 224. Of a file: any; its images are resized to it.
        root: Where the files of named sets lie or are downloaded to; None: in the cache folder.
        classes: Names in the order of the labels; None takes MedMNIST's own for a known name.
        modality: See `cells.trees.FolderData`.
    """

    kind: Literal[
        "medmnist",
        "bloodmnist",
        "breastmnist",
        "dermamnist",
        "octmnist",
        "organamnist",
        "organcmnist",
        "organsmnist",
        "pathmnist",
        "pneumoniamnist",
        "retinamnist",
        "tissuemnist",
    ] = "medmnist"
    name: str = "bloodmnist"
    image_size: Size = 28
    root: Path | None = None
    classes: tuple[str, ...] | None = None
    modality: Modality = "auto"

    @model_validator(mode="before")
    @classmethod
    def _kind_names_the_set(cls, values: Any) -> Any:
        kind = values.get("kind") if isinstance(values, dict) else None
        if kind in SETS:
            name = values.get("name", kind)
            if name != kind and not str(name).endswith(".npz"):
                raise ValueError(f"kind is {kind} and name is {name}; leave one out")
            return {**values, "name": name}
        return values


def load_medmnist(settings: MedmnistData) -> CellSet:
    """Read a MedMNIST file, downloading a named set where it is missing.

    Raises:
        InputError: If the file is missing and cannot be downloaded (it says which file goes
            where), is damaged, or does not hold 2D images with one label each.
    """
    path = _medmnist_file(settings)
    arrays = _arrays(path)
    sides = [side for side in SIDES if f"{side}_images" in arrays]
    labels = {side: _labels(arrays[f"{side}_labels"], path) for side in sides}
    classes = _medmnist_classes(settings, path, max(int(found.max()) for found in labels.values()))
    parts = [
        CellSet.from_arrays(
            _as_rgb(arrays[f"{side}_images"], settings.image_size, path),
            labels[side],
            classes,
            names=[f"{side}_images[{i}]" for i in range(len(labels[side]))],
            splits=side,
        )
        for side in sides
    ]
    cells = parts[0]
    for part in parts[1:]:
        cells = cells + part
    return cells


def _medmnist_file(settings: MedmnistData) -> Path:
    """The file, downloaded where it is a known name and not here yet."""
    if settings.name.endswith(".npz"):
        path = Path(settings.name)
        if not path.is_file():
            raise InputError(f"{path}: no such file; set data.name to an .npz file or a set's name.")
        return path
    if settings.name not in SETS:
        raise InputError(f"data.name: unknown set '{settings.name}'.{suggest(settings.name, SETS)}")
    info = _medmnist_info()
    if settings.image_size not in SIZES:
        raise InputError(f"data.image_size: {settings.name} comes in 28, 64, 128 and 224 px.")
    suffix = "" if settings.image_size == 28 else f"_{settings.image_size}"
    root = settings.root or cache_folder() / "medmnist"
    path = root / f"{settings.name}{suffix}.npz"
    if not path.is_file():
        _download(info[settings.name][f"url{suffix}"], info[settings.name][f"MD5{suffix}"], path)
    return path


def _medmnist_info() -> dict[str, dict[str, Any]]:
    from medmnist import INFO  # it imports pandas and scikit-image: only where it is needed

    info: dict[str, dict[str, Any]] = INFO
    return info


def _download(url: str, md5: str, path: Path) -> None:
    """Fetch a file with its checksum verified, or say where to put it."""
    other = path.name.replace(".npz", "_64.npz")
    also = "" if "_" in path.name else f" (or {other} with data.image_size=64)"
    fetch(url, path, f"md5:{md5}", also)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"{path}: not a readable .npz ({error}); fetch it again.") from None
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        if name not in arrays:
            raise InputError(f"{path}: has no array '{name}'; it is not laid out as MedMNIST's.")
    for side in SIDES:
        images, labels = arrays.get(f"{side}_images"), arrays.get(f"{side}_labels")
        if images is not None and (labels is None or len(images) != len(labels) or not len(labels)):
            raise InputError(f"{path}: {side}_images and {side}_labels differ in length or are empty.")
    return arrays


def _labels(labels: NDArray[Any], path: Path) -> NDArray[np.int64]:
    if labels.size != len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{path}: has several labels an image; rarecell needs exactly one class each.")
    return labels.reshape(-1).astype(np.int64)


def _medmnist_classes(settings: MedmnistData, path: Path, highest: int) -> tuple[str, ...]:
    if settings.classes is not None:
        names = settings.classes
    elif known := _medmnist_info().get(path.stem.split("_")[0].lower()):
        # "immature granulocytes(myelocytes, ...)" is no name for a folder or a column
        names = tuple(name.split("(")[0].strip() for name in known["label"].values())
    else:
        names = tuple(f"class {i}" for i in range(highest + 1))
    if len(names) <= highest:
        raise InputError(f"data.classes: names {len(names)} classes, but {path} has label {highest}.")
    return names


def _as_rgb(images: NDArray[Any], size: int, path: Path) -> NDArray[np.uint8]:
    """Grey or RGB images of any size to uint8 (n, size, size, 3)."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)):
        raise InputError(f"{path}: holds {images.dtype} {images.shape}, not 2D grey or RGB uint8 images.")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[3] == 1:
        images = np.repeat(images, 3, axis=3)  # (n, h, w, 3)
    if images.shape[1:3] == (size, size):
        return images
    return np.stack([fit_square(image, size) for image in images])
