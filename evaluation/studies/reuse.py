"""Generators that an earlier study has trained already, found by the digest of all that made them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import generators
from evaluation.studies.study import Study
from generators import RESAMPLERS
from generators.fitted import NetworkGenerator
from generators.protocol import MODEL
from runtime.config import digest
from runtime.errors import InputError
from runtime.rundir import read_json, write_json
from runtime.seeds import seed_of

MODELS = f"generators/*/seed-*/{MODEL}/config.json"
Training = tuple[Path, dict[str, Any]]
DEPTH = 3  # a study, a folder of studies, a folder of designs


def take_over(study: Study, trainings: Sequence[Training]) -> None:
    """Copy those generators of a study that another study has trained, so that none is trained twice.

    Only the same is taken: settings, seed, classes, size, training cells, first weights and monitor, by their
    digest. How it draws (guidance, sampler) is no part of its training, unless a monitor looked at what it
    drew: the copy draws as this study wants. One whose training has begun here is not replaced.

    Args:
        study: Its directory entered; nobody works there yet.
        trainings: As `finished_trainings` returns them.
    """
    for kind, seed in study.generators:
        target = study.run.path / "generators" / kind / f"seed-{seed}"
        begun = (target / MODEL / "config.json").exists() or (target / "checkpoints").exists()
        if kind in RESAMPLERS or begun or not trainings:
            continue
        blank = _blank(study, kind, seed)
        identity = blank.identify(study.split.train, study.watch)
        free = frozenset() if study.watch else blank.settings.AFTER_TRAINING
        own = digest(_trained_as(identity, identity, free))
        same = [where for where, saved in trainings if digest(_trained_as(saved, identity, free)) == own]
        if same:
            study.say(f"the {kind} generator, seed {seed}, is that of {same[0]}")
            _copy(same[0], target, identity["settings"])


def _trained_as(saved: Mapping[str, Any], like: Mapping[str, Any], free: frozenset[str]) -> dict[str, Any]:
    """The parts of a saved identity on which its weights depend."""
    settings = {key: value for key, value in (saved.get("settings") or {}).items() if key not in free}
    return {**{key: saved.get(key) for key in like}, "settings": settings}


def finished_trainings(folders: Sequence[Path]) -> list[Training]:
    """The generators that lie finished in some folders.

    Args:
        folders: Studies, or folders of studies.

    Returns:
        The directory of each training, and what config.json of its model says.

    Raises:
        InputError: If a folder is not there, or holds no finished generator at all.
    """
    found: list[Training] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"reuse: {folder} is not there; name studies, or folders of studies.")
        files = list(_models(folder))
        if not files:
            raise InputError(f"reuse: {folder} holds no finished generator; name studies that trained some.")
        homes = [file.parents[1] for file in files]
        whole = [home for home in homes if (home / "seconds.json").exists()]  # else its study still writes
        found += [(home, read_json(home / MODEL / "config.json")) for home in whole]
    return found


def _models(folder: Path) -> Iterator[Path]:
    for depth in range(DEPTH):
        yield from sorted(folder.glob("*/" * depth + MODELS))


def _blank(study: Study, kind: str, seed: int) -> NetworkGenerator:
    train = study.split.train
    recipe = getattr(study.settings.generators, kind)
    made = generators.build(recipe, train.classes, train.image_size, seed_of("study", kind, seed))
    assert isinstance(made, NetworkGenerator), "only these are trained"
    return made


def _copy(found: Path, target: Path, settings: Mapping[str, Any]) -> None:
    """Copy what a training left but its checkpoints; config.json of the model last, which makes it whole.

    Its samples stay behind where the copy is to draw otherwise.
    """
    last = Path(MODEL) / "config.json"
    config = read_json(found / last)
    behind = {"checkpoints"} if config["settings"] == settings else {"checkpoints", "samples"}
    files = [file.relative_to(found) for file in sorted(found.rglob("*")) if file.is_file()]
    for file in files:
        if file.parts[0] not in behind and file != last:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found / file, target / file)
    write_json(target / "seconds.json", {**read_json(found / "seconds.json"), "taken_from": str(found)})
    write_json(target / last, {**config, "settings": settings})
