"""Class-conditional image generators behind one protocol: a GAN, a diffusion model, SMOTE, a control."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from generators.diffusion import Diffusion, DiffusionSettings
from generators.gan import Gan, GanSettings
from generators.protocol import Generator, Monitor, model_folder
from generators.resample import Repeat, RepeatSettings
from generators.smote import Smote, SmoteSettings
from runtime.errors import InputError, suggest
from runtime.rundir import read_json

GeneratorSettings = Annotated[
    GanSettings | DiffusionSettings | RepeatSettings | SmoteSettings, Field(discriminator="kind")
]

GENERATORS: dict[str, Any] = {
    "gan": Gan,
    "diffusion": Diffusion,
    "repeat": Repeat,
    "smote": Smote,
}
# Kinds that draw from the training cells as they are: nothing is trained, watched or curated.
RESAMPLERS = ("repeat", "smote")

__all__ = [
    "GENERATORS",
    "RESAMPLERS",
    "Diffusion",
    "DiffusionSettings",
    "Gan",
    "GanSettings",
    "Generator",
    "GeneratorSettings",
    "Monitor",
    "Repeat",
    "RepeatSettings",
    "Smote",
    "SmoteSettings",
    "build",
    "load",
]


def build(
    settings: GanSettings | DiffusionSettings | RepeatSettings | SmoteSettings,
    classes: tuple[str, ...],
    image_size: int,
    seed: int = 0,
) -> Generator:
    """A generator that has not been trained.

    Args:
        settings: Of one of `GENERATORS`.
        classes: Class names.
        image_size: Edge of the images in pixels.
        seed: Of initialization and training.

    Raises:
        InputError: If the image size does not fit the generator.
    """
    made: Generator = GENERATORS[settings.kind](settings, tuple(classes), image_size, seed)
    return made


def load(folder: Path) -> Generator:
    """Read a saved generator of any kind.

    Args:
        folder: Holds config.json and weights.safetensors; a training's own directory also does.

    Raises:
        InputError: If a file is missing or damaged, or the kind is unknown.
    """
    folder = model_folder(folder)
    kind = read_json(folder / "config.json").get("kind")
    if kind not in GENERATORS:
        raise InputError(f"{folder}: unknown kind of generator '{kind}'.{suggest(str(kind), GENERATORS)}")
    loaded: Generator = GENERATORS[kind].load(folder)
    return loaded
