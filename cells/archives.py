"""Archives, unpacked with guards into a folder that is whole or absent."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from cells.download import check_unchanged
from cells.images import SUFFIXES, cache_folder
from cells.whole import make_whole
from runtime.errors import InputError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
BLOCK = 1 << 20
# What the readers raise on a damaged or encrypted archive.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold.

    Attributes:
        total: Bytes unpacked.
        ratio: Bytes unpacked for each byte packed; images hardly pack, so a high one is a bomb.
        free: Bytes that may be unpacked whatever the ratio.
        files: Entries.
    """

    total: int = 64 << 30
    ratio: int = 100
    free: int = 64 << 20
    files: int = 2_000_000


@dataclass(frozen=True)
class _Entry:
    """One file of an archive; `stream` is None for a link or a device."""

    name: str
    size: int
    stream: Callable[[], IO[bytes] | None] | None


def is_archive(path: Path) -> bool:
    """True for an existing file whose name ends as an archive's does."""
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".") and path.is_file()


def unpacked(archive: Path, limits: Limits | None = None) -> Path:
    """The folder of what an archive holds, in the cache; unpacked the first time.

    It is keyed by the archive's bytes. An archive that holds a single archive and no image, as
    PBC's does, is unpacked twice.

    Raises:
        InputError: If the archive is damaged, differs from its first download, is larger unpacked
            than `limits` allow, or would write outside of its folder.
    """
    limits = limits or Limits()
    folder = _unpacked(archive, limits)
    files = [path for path in folder.rglob("*") if path.is_file()]
    inner = [path for path in files if is_archive(path)]
    packed_twice = len(inner) == 1 and not any(path.suffix.lower() in SUFFIXES for path in files)
    return _unpacked(inner[0], limits) if packed_twice else folder


def _unpacked(archive: Path, limits: Limits) -> Path:
    folder = cache_folder() / "unpacked" / check_unchanged(archive)[:32]
    return make_whole(folder, lambda aside: _unpack(archive, aside, limits))


def inner_folder(folder: Path) -> Path:
    """Past the single folders that archives are often wrapped in: to where there is more than one."""
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    wrapped = len(entries) == 1 and entries[0].is_dir()
    if wrapped and any(path.suffix.lower() not in SUFFIXES for path in entries[0].iterdir()):
        return inner_folder(entries[0])
    return folder


def _unpack(archive: Path, into: Path, limits: Limits) -> Path:
    written = 0
    allowed = min(limits.total, max(limits.free, limits.ratio * archive.stat().st_size))
    try:
        for count, entry in enumerate(_entries(archive), start=1):
            if count > limits.files:
                raise InputError(f"{archive}: has more than {limits.files} entries; unpack it by hand.")
            target = into / _safe(entry.name, archive)
            written += entry.size
            if written > allowed:
                raise InputError(
                    f"{archive}: would take more than {allowed >> 20} MiB unpacked; if you trust it, "
                    "unpack it by hand and set data.root to the folder."
                )
            _write(entry, target, archive)
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{archive}: cannot be unpacked ({reason}); fetch it again.") from None
    return into


def _safe(name: str, archive: Path) -> PurePosixPath:
    """The path of an entry, which stays inside the folder it is unpacked into."""
    path = PurePosixPath(name.replace("\\", "/"))
    inside = path.parts and not path.is_absolute() and ".." not in path.parts
    if not inside or "\0" in name or ":" in path.parts[0]:
        raise InputError(
            f"{archive}: its entry {name!r} would be written elsewhere; do not trust the archive."
        )
    return path


def _write(entry: _Entry, target: Path, archive: Path) -> None:
    """Write one file; its declared size holds, whatever the stream has."""
    source = entry.stream() if entry.stream else None
    if source is None:
        raise InputError(f"{archive}: its entry {entry.name!r} is a link or a device; unpack it by hand.")
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.size
    with source, target.open("xb") as file:
        while block := source.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise InputError(f"{archive}: its entry {entry.name!r} is longer than it says.")
            file.write(block)


def _entries(archive: Path) -> Iterator[_Entry]:
    """The files of an archive, without folders and without what macOS adds."""
    entries = _zip_entries(archive) if archive.name.lower().endswith(".zip") else _tar_entries(archive)
    return (entry for entry in entries if not entry.name.startswith("__MACOSX/"))


def _zip_entries(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made on Windows
            stream = partial(file.open, info) if kind in (0, stat.S_IFREG) else None
            yield _Entry(info.filename, info.file_size, stream)


def _tar_entries(archive: Path) -> Iterator[_Entry]:
    with tarfile.open(archive) as file:
        for info in file:
            if not info.isdir():
                yield _Entry(info.name, info.size, partial(file.extractfile, info) if info.isfile() else None)
