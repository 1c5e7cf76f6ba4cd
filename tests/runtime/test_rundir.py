import json
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.rundir import RunDir, first_difference, read_json, write_json, writing


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    with (
        RunDir(tmp_path / "run", {"a": 1}),
        pytest.raises(InputError, match="another process is running here"),
        RunDir(tmp_path / "run", {"a": 1}),
    ):
        pass
    with RunDir(tmp_path / "run", {"a": 1}) as again:
        assert again.path.is_dir()


def test_another_config_is_refused_by_its_first_difference(tmp_path: Path) -> None:
    with RunDir(tmp_path / "run", {"generator": {"steps": 3}, "seed": 0}):
        pass
    with (
        pytest.raises(InputError, match=r"generator\.steps was 3, is 4"),
        RunDir(tmp_path / "run", {"generator": {"steps": 4}, "seed": 0}),
    ):
        pass
    assert "steps: 3" in (tmp_path / "run/config.yaml").read_text()


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds other files"), RunDir(tmp_path, {"a": 1}):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_log_keeps_every_line_and_tensorboard_gets_the_figures(tmp_path: Path) -> None:
    with RunDir(tmp_path / "run", {}) as run:
        run.scalars(1, loss=0.5)
        run.scalars(2, loss=0.25)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.5), (2, 0.25)]
    assert list((tmp_path / "run/events").glob("events.out.*"))


def test_a_broken_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"kept": True})
    with pytest.raises(RuntimeError, match="power cut"), writing(tmp_path / "a.json") as aside:
        aside.write_text("{half")
        raise RuntimeError("power cut")
    assert read_json(tmp_path / "a.json") == {"kept": True}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_first_difference_names_added_and_removed_keys() -> None:
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1}}) is None
    assert first_difference({"a": {}}, {"a": {"b": 1}}) == "a.b was not there before"
    assert first_difference({"a": 1, "b": 2}, {"a": 1}) == "b was set before"


def test_what_a_killed_process_left_half_written_is_no_obstacle_and_goes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / ".config.4711.tmp.yaml").write_text("gen")
    (run / "model" / ".weights.4711.tmp.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match="holds other files"), RunDir(run, {"a": 1}):
        pass
    (run / "model" / ".weights.4711.tmp.safetensors").unlink()
    (run / "model").rmdir()
    with RunDir(run, {"a": 1}):
        assert sorted(path.name for path in run.iterdir()) == [".lock", "config.yaml"]
    (run / "model").mkdir()
    (run / "model" / ".weights.4711.tmp.safetensors").write_bytes(b"half")
    (run / "model" / ".kept.tmp").write_text("somebody's own")
    with RunDir(run, {"a": 1}):
        assert [path.name for path in (run / "model").iterdir()] == [".kept.tmp"]


def test_the_second_process_of_a_launch_leaves_looking_locking_and_writing_to_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunDir(tmp_path / "run", {"a": 1}) as first:
        first.log(step=1)
        (tmp_path / "run" / "config.yaml").rename(tmp_path / "run" / "half-written")
        monkeypatch.setenv("RANK", "1")
        with RunDir(tmp_path / "run", {"a": 1}) as second:
            assert not second.writes
            second.log(step=1)
            second.scalars(1, loss=0.0)
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "run" / "events").exists()
