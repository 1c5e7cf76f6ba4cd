"""One run, one directory: lock, resolved config, log, and files that are whole or absent."""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import yaml
from torch.utils.tensorboard import SummaryWriter

from runtime.devices import is_main_process
from runtime.errors import InputError
from runtime.lease import someone_at_work

ASIDE = re.compile(r"\..+\.\d+\.tmp(\..*)?")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, synced and renamed to it at the end, removed on error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name keeps its suffix: writers such as PIL and NumPy go by it.
    aside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        if error.filename in (None, str(aside)):  # writing fails without a name, opening with this one
            error.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole, or leave what was there."""
    with writing(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text whole, or leave what was there."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON whole, or leave what was there."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: If the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path}: not readable as JSON; remove it and run again.") from None


class RunDir:
    """A directory that belongs to one run with one config.

    Args:
        path: The directory; made if absent.
        config: The resolved config as plain values. Saved as ``config.yaml`` the first time; later
            it must be the same. None: a part of another run, without config or lock of its own.

    Raises:
        InputError: If another process holds the directory, if it holds the run of another config
            (the first key that differs is named), or if it is full of other files.
    """

    def __init__(self, path: Path, config: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self._config = config
        self._lock: IO[str] | None = None
        self._events: SummaryWriter | None = None

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes here; the others of a launch only read."""
        return is_main_process()

    def __enter__(self) -> Self:
        if self._config is None:
            self.path.mkdir(parents=True, exist_ok=True)
            return self
        if not self.writes:  # the first process looks, locks and refuses for all
            return self
        _check_owner(self.path, self._config)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}).") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise InputError(
                f"{self.path}: another process is running here; wait for it or choose another out=."
            ) from None
        if not someone_at_work(self.path):  # workers of an earlier command may be
            for left in self.path.rglob(".*.tmp*"):
                if ASIDE.fullmatch(left.name):  # by a killed process
                    left.unlink(missing_ok=True)
        if not (self.path / "config.yaml").exists():
            write_text(self.path / "config.yaml", yaml.safe_dump(dict(self._config), sort_keys=False))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
        if self._lock is not None:
            self._lock.close()  # closing releases the lock
            self._lock = None

    def child(self, name: str) -> "RunDir":
        """A part of this run, in a sub-directory; guarded by this run's lock."""
        part = RunDir(self.path / name)
        part.path.mkdir(parents=True, exist_ok=True)
        return part

    def log(self, **values: Any) -> None:
        """Append one line to ``log.jsonl``."""
        if not self.writes:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"time": round(time.time(), 3), **values})
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def scalars(self, step: int, **values: float) -> None:
        """Log figures of a step, to ``log.jsonl`` and as TensorBoard events under ``events/``."""
        if not self.writes:
            return
        self.log(step=step, **values)
        if self._events is None:
            self._events = SummaryWriter(str(self.path / "events"))  # type: ignore[no-untyped-call]
        for name, value in values.items():
            self._events.add_scalar(name, value, step)  # type: ignore[no-untyped-call]


def _check_owner(path: Path, config: Mapping[str, Any]) -> None:
    """A directory is free, or belongs to this very config."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; choose a directory as out=.")
    saved = path / "config.yaml"
    if saved.exists():
        before = yaml.safe_load(saved.read_text(encoding="utf-8"))
        changed = first_difference(before, json.loads(json.dumps(dict(config))))
        if changed:
            raise InputError(
                f"{path}: holds a run of another config ({changed}); choose another out= or undo the change."
            )
    elif path.is_dir() and any(
        item.name != ".lock" and not ASIDE.fullmatch(item.name) for item in path.iterdir()
    ):
        raise InputError(f"{path}: holds other files and no run; choose an empty or new directory as out=.")


def first_difference(before: Any, after: Any, key: str = "") -> str | None:
    """The first key at which two plain configs differ, with both values; None if they are equal."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = f"{key}.{name}" if key else str(name)
            if name not in before or name not in after:
                there = "was set" if name in before else "was not there"
                return f"{inner} {there} before"
            found = first_difference(before[name], after[name], inner)
            if found:
                return found
        return None
    return None if before == after else f"{key} was {before!r}, is {after!r}"
