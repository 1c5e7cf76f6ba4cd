import errno
import resource
from pathlib import Path

import pytest
import torch

from runtime.checkpoint import fit_state, load_checkpoint, load_weights, save_checkpoint, save_weights
from runtime.errors import InputError


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def test_the_newest_valid_checkpoint_wins_and_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"w": torch.full((2,), float(step))}, {"p": step / 10})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    _flip_a_bit(tmp_path / "step-00000003/tensors.safetensors")
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 2
    assert found.state == {"p": 0.2}
    assert torch.equal(found.tensors["w"], torch.full((2,), 2.0))


def test_torn_checkpoints_are_passed_over(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"w": torch.zeros(1)}, {})
    (tmp_path / "step-00000009").mkdir()
    (tmp_path / "step-00000009/state.json").write_text('{"step": 9')
    found = load_checkpoint(tmp_path)
    assert found is not None and found.step == 5
    assert load_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("left", ["null", "[1]", '"text"'])
def test_json_that_is_no_object_is_damage(left: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"w": torch.zeros(1)}, {})
    (tmp_path / "step-00000009").mkdir()
    (tmp_path / "step-00000009/state.json").write_text(left)
    found = load_checkpoint(tmp_path)
    assert found is not None and found.step == 5


def test_a_file_in_the_place_of_a_checkpoint_makes_way(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"w": torch.zeros(1)}, {})
    (tmp_path / "step-00000007").write_text("lost and found")
    (tmp_path / "step-00000009").write_text("lost and found")
    save_checkpoint(tmp_path, 7, {"w": torch.ones(1)}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000005", "step-00000007"]
    found = load_checkpoint(tmp_path)
    assert found is not None and found.step == 7 and found.damaged == ()


def test_weights_come_back_and_damage_is_refused_by_name(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    save_weights(tmp_path, {"a": shared.T, "b": shared}, {"kind": "toy"})
    tensors, config = load_weights(tmp_path)
    assert torch.equal(tensors["a"], shared.T)
    assert config["kind"] == "toy"
    _flip_a_bit(tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors: does not match"):
        load_weights(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"weights\.safetensors: no such file"):
        load_weights(tmp_path)


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match="does not fit the config"):
        fit_state(torch.nn.Linear(3, 2), torch.nn.Linear(4, 2).state_dict(), "model")


def test_damaged_later_ones_do_not_count_among_the_two_that_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"w": torch.zeros(1)}, {})
    _flip_a_bit(tmp_path / "step-00000003/tensors.safetensors")
    (tmp_path / "step-00000009").mkdir()
    found = load_checkpoint(tmp_path)
    assert found is not None and found.step == 2
    assert [path.name for path in found.damaged] == ["step-00000009", "step-00000003"]
    save_checkpoint(tmp_path, 3, {"w": torch.ones(1)}, {})  # the run went on from step 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    again = load_checkpoint(tmp_path)
    assert again is not None and again.step == 3 and again.damaged == ()


def test_state_and_step_are_under_the_digest_too(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 7, {"w": torch.zeros(1)}, {"p": 0.25})
    file = tmp_path / "step-00000007/state.json"
    for word, other in (('"step": 7', '"step": 8'), ("0.25", "0.75")):
        written = file.read_text()
        assert word in written
        file.write_text(written.replace(word, other))
        with pytest.raises(InputError, match="step-00000007: damaged, and no other checkpoint"):
            load_checkpoint(tmp_path)
        file.write_text(written)
    assert load_checkpoint(tmp_path) is not None


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"w": torch.zeros(10)}, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))  # Python ignores SIGXFSZ: writing fails
    try:
        with pytest.raises(InputError, match="step-00000002: the checkpoint could not be written"):
            save_checkpoint(tmp_path, 2, {"w": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert load_checkpoint(tmp_path) is not None


def test_weights_that_a_full_disk_does_not_take_say_so_by_number(tmp_path: Path) -> None:
    tensors = {"w": torch.zeros(5000)}
    save_weights(tmp_path, {"w": torch.ones(1)}, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError, match="File too large") as caught:
            save_weights(tmp_path, tensors, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(tmp_path / "weights.safetensors")
    assert caught.value.errno == errno.EFBIG, "what run_command takes for a full disk, and ends with 2"
    assert torch.equal(load_weights(tmp_path)[0]["w"], torch.ones(1)), "what was there stays"
