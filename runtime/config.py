"""YAML and dotted overrides, to validated and frozen settings."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml import YAMLError

from runtime.errors import InputError, suggest

COMMAND_LINE = "command line"


class Settings(BaseModel):
    """Base of all settings: immutable, and a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


T = TypeVar("T", bound=Settings)


def load_config(model: type[T], path: Path | None, overrides: Sequence[str] = ()) -> T:
    """Read one YAML, apply dotted overrides, validate.

    Args:
        model: The settings class.
        path: The YAML file; None starts from the defaults.
        overrides: Words such as ``generator.steps=200``; OmegaConf reads ``1e-3`` as a number.

    Raises:
        InputError: Missing or malformed file, a bad override, an unknown key (with a suggestion)
            or an invalid value, each with its full path.
    """
    raw = OmegaConf.merge(_read(path), _dotted(overrides))
    try:
        plain = OmegaConf.to_container(raw, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"{path or 'overrides'}: {str(error).splitlines()[0]}.") from None
    return validate(model, plain, str(path) if path else COMMAND_LINE, overrides)


def validate(model: type[T], values: Any, where: str, overrides: Sequence[str] = ()) -> T:
    """Validate plain values against a settings class; see `load_config`.

    Args:
        model: The settings class.
        values: What it is made of.
        where: Where they come from, in words.
        overrides: Words such as ``generator.steps=200`` that some of them come from instead.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        key, said = _sentence(error, model, values)
        raise InputError(f"{COMMAND_LINE if _given(key, overrides) else where}: {said}") from None


def _given(key: str, overrides: Sequence[str]) -> bool:
    """Whether a key, or one below it, is among the overrides."""
    here: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)), resolve=False)
    for part in key.split("."):
        if isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        elif isinstance(here, dict) and part in here:
            here = here[part]
        else:
            return False
    return True


def _read(path: Path | None) -> DictConfig:
    if path is None:
        return OmegaConf.create({})
    if not path.is_file():
        raise InputError(f"{path}: no such config file; name a YAML file, e.g. configs/quickstart.yaml.")
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(loaded, DictConfig):
        raise InputError(f"{path}: a config is a mapping of keys to values, not a list.")
    return loaded


def _dotted(overrides: Sequence[str]) -> DictConfig:
    for word in overrides:
        key, equals, _ = word.partition("=")
        if not equals or not key:
            raise InputError(f"'{word}': an override is written key=value, e.g. data.image_size=28.")
        try:
            OmegaConf.from_dotlist([word])
        except (OmegaConfBaseException, YAMLError) as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise InputError(
                f"'{word}': is not readable as YAML ({said}); within braces write a space after each colon."
            ) from None
    read = OmegaConf.from_dotlist(list(overrides))
    glued = _glued(OmegaConf.to_container(read, resolve=False))
    if glued is not None:
        name, _, value = glued.partition(":")
        raise InputError(
            f"{COMMAND_LINE}: '{glued}' lacks a space after the colon; write '{name}: {value}', and quote "
            "the whole word, as in 'counts={a: 16}'."
        )
    return read


def _glued(value: Any) -> str | None:
    """A key such as ``a:16``, which YAML reads as a key without a value where ``a: 16`` was meant."""
    if isinstance(value, dict):
        keys = (key for key, one in value.items() if one is None and isinstance(key, str) and ":" in key)
        return next(keys, None) or next(filter(None, map(_glued, value.values())), None)
    return next(filter(None, map(_glued, value)), None) if isinstance(value, list) else None


def _sentence(error: ValidationError, model: type[BaseModel], values: Any) -> tuple[str, str]:
    """The key of the first problem, and the problem in words; the rest as a count."""
    problems = error.errors(include_url=False)
    first = problems[0]
    if first["type"] == "missing":  # often because it is misspelled: that key says more
        beside = (
            p for p in problems if p["type"] == "extra_forbidden" and p["loc"][:-1] == first["loc"][:-1]
        )
        first = next(beside, first)
    key = _key(first, values)
    if first["type"] == "extra_forbidden":
        siblings = _known_keys(model, first["loc"][:-1])
        return key, f"unknown key '{key}'.{suggest(str(first['loc'][-1]), siblings)}"
    if first["type"] == "missing":
        return key, f"'{key}' is missing; set it in the YAML or as {key}=VALUE."
    if first["type"].startswith("union_tag"):
        options = re.findall(r"'([^']+)'", first.get("ctx", {}).get("expected_tags", ""))
        tag = first.get("ctx", {}).get("tag")
        said = f"'{key}.kind' = {tag!r} is unknown."
        if not tag:
            options = list(_variants(_at(model, first["loc"])))
            said = f"'{key}.kind' is missing, on which the other keys of '{key}' depend; set it as well."
        return key, said + suggest(str(tag or ""), options)
    # A value that may be of several types fails each of them: say all that it could be.
    same = [problem for problem in problems if _key(problem, values) == key]
    reasons = "; or: ".join(dict.fromkeys(map(_reason, same)))
    more = len(problems) - len(same)
    said = f"'{key}' = {first.get('input')!r}: {reasons}" if key else reasons  # no key: of several together
    text = said if said.endswith("?") else f"{said}."
    return key, text + (f" ({more} more like this.)" if more else "")


def _reason(problem: Any) -> str:
    """What is wrong with a value, in the words of a config."""
    if problem["type"] in ("tuple_type", "list_type"):
        return "should be a list, written [a, b]"
    return str(problem["msg"]).removeprefix("Value error, ").rstrip(".")


def _key(problem: Any, values: Any) -> str:
    """The dotted path as a user wrote it: pydantic adds the names of the types that it tried."""
    kept, here = [], values
    for part in problem["loc"]:
        inside = isinstance(here, Mapping) and part in here
        if inside or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
            kept.append(str(part))
        elif problem["type"] == "missing" and part == problem["loc"][-1]:
            kept.append(str(part))
    return ".".join(kept)


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for candidate in _models(_at(model, loc)):
        return list(candidate.model_fields)
    return []


def _at(model: type[BaseModel], loc: tuple[int | str, ...]) -> Any:
    """The annotation of a key."""
    here: Any = model
    for part in loc:
        choices = _variants(here)
        here = choices[part] if isinstance(part, str) and part in choices else _field(here, part)
    return here


def _models(annotation: Any) -> list[type[BaseModel]]:
    """All settings classes that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    value = getattr(annotation, "__value__", None)  # `type X = ...`
    for argument in (value, *getattr(annotation, "__args__", ())):
        if argument is not None:
            found += _models(argument)
    return found


def _variants(annotation: Any) -> dict[str, type[BaseModel]]:
    kinds = {}
    for candidate in _models(annotation):
        kind = candidate.model_fields.get("kind")
        for name in get_args(kind.annotation) if kind is not None else ():
            kinds[str(name)] = candidate
    return kinds


def _field(annotation: Any, part: int | str) -> Any:
    for candidate in _models(annotation):
        if isinstance(part, str) and part in candidate.model_fields:
            return candidate.model_fields[part].annotation
    return annotation


def to_dict(settings: BaseModel) -> dict[str, Any]:
    """Settings as plain JSON values."""
    plain: dict[str, Any] = settings.model_dump(mode="json")
    return plain


def digest(settings: BaseModel | Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of the settings as sorted JSON."""
    plain = to_dict(settings) if isinstance(settings, BaseModel) else dict(settings)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
