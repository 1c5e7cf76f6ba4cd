from pathlib import Path
from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from runtime.config import Settings, digest, load_config, to_dict
from runtime.errors import InputError, suggest


class Oven(Settings):
    kind: Literal["oven"] = "oven"
    degrees: float = 180.0


class Pan(Settings):
    kind: Literal["pan"] = "pan"
    lid: bool
    steps: int = 3


class Kitchen(Settings):
    tool: Annotated[Oven | Pan, Field(discriminator="kind")] = Oven()
    rate: float = 1.0
    fill: Literal["full"] | Annotated[float, Field(gt=0)] = "full"
    guests: tuple[str, ...] = ()

    @field_validator("guests")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name != "anna":
                raise InputError(f"no guest '{name}'.{suggest(name, ['anna'])}")
        return names

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.guests and self.rate > 5:
            raise ValueError("rate: 5 at most with guests")
        return self


def test_yaml_and_overrides_meet(tmp_path: Path) -> None:
    file = tmp_path / "kitchen.yaml"
    file.write_text("tool: {kind: pan, lid: true}\nrate: 2\n")
    read = load_config(Kitchen, file, ["tool.steps=5", "rate=1e-3"])
    assert read == Kitchen(tool=Pan(lid=True, steps=5), rate=1e-3)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Kitchen().rate = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["tool.kind=pan", "tool.lid=true", "tool.stesp=4"], ["'tool.stesp'", "Did you mean 'steps'?"]),
        (["rats=1"], ["'rats'", "Did you mean 'rate'?"]),
        (["fill=-1"], ["'fill' = -1", "should be 'full'; or: Input should be greater than 0"]),
        (["rate=fast"], ["'rate'", "'fast'"]),
        (["tool.kind=pan"], ["'tool.lid' is missing"]),
        (["tool.steps=4"], ["'tool.kind' is missing, on which the other keys of 'tool'", "Valid: oven, pan"]),
        (["tool.kind=pan", "tool.lidd=true"], ["unknown key 'tool.lidd'", "'lid'"]),
        (["tool.kind=grill"], ["'tool.kind'", "Valid: oven, pan"]),
        (["rate"], ["'rate'", "key=value"]),
        (["guests=anna"], ["'guests' = 'anna': should be a list, written [a, b]."]),
        (["guests=[ana]"], ["no guest 'ana'. Did you mean 'anna'?"]),
        (["guests=[anna]", "rate=6"], ["command line: rate: 5 at most with guests."]),
    ],
)
def test_a_mistake_is_named_with_its_key_and_the_fix(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_config(Kitchen, None, overrides)
    message = str(caught.value)
    assert "\n" not in message and "?." not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("rats=1", "command line: unknown key 'rats'"),
        ("tool.degrees=hot", "command line: 'tool.degrees'"),
        ("tool={kind: pan}", r"kitchen\.yaml: unknown key 'tool.degrees'"),  # merged with the file's
        ("guests=[ana]", "command line: 'guests'"),
        ("rate=2", r"kitchen\.yaml: unknown key 'fil'"),
    ],
)
def test_what_the_command_line_gave_is_not_blamed_on_the_file(
    override: str, where: str, tmp_path: Path
) -> None:
    file = tmp_path / "kitchen.yaml"
    file.write_text("fil: full\n" if override == "rate=2" else "tool: {kind: oven, degrees: 90}\n")
    with pytest.raises(InputError, match=f"^(.*/)?{where}"):
        load_config(Kitchen, file, [override])


@pytest.mark.parametrize("word", ["fill={a:16}", "tool.x={b: {a:16}}", "guests=[{a:16, c: 2}]"])
def test_a_colon_without_a_space_is_named(word: str) -> None:
    with pytest.raises(InputError, match="'a:16' lacks a space after the colon; write 'a: 16'"):
        load_config(Kitchen, None, [word])


def test_a_word_that_is_no_yaml_is_named() -> None:
    with pytest.raises(InputError, match=r"'fill=\{b:\{a:16\}\}': is not readable as YAML .* a space after"):
        load_config(Kitchen, None, ["rate=2", "fill={b:{a:16}}"])


def test_missing_and_malformed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: no such config file"):
        load_config(Kitchen, tmp_path / "absent.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("rate: [1, 2\n")
    with pytest.raises(InputError, match=r"bad\.yaml: not readable as YAML"):
        load_config(Kitchen, bad)
    bad.write_text("- 1\n- 2\n")
    with pytest.raises(InputError, match="mapping"):
        load_config(Kitchen, bad)


def test_the_digest_follows_the_values() -> None:
    assert digest(Kitchen()) == digest(to_dict(Kitchen()))
    assert digest(Kitchen()) != digest(Kitchen(rate=2.0))


def test_suggest_lists_the_options_where_none_is_near() -> None:
    assert suggest("zzz", ["basophil", "ig"]) == " Valid: basophil, ig."
