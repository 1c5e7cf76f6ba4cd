"""Files from the network: to a temporary name, verified, then renamed."""

import hashlib
import sys
from pathlib import Path

from cells.whole import make_whole
from runtime.errors import InputError
from runtime.rundir import write_text


def fetch(url: str, path: Path, checksum: str | None = None, also: str = "") -> Path:
    """The file at `path`, downloaded where it is not here yet.

    Args:
        url: Where from.
        path: Where to. It appears whole and verified, or not at all.
        checksum: The published one, e.g. ``"md5:7053…"``. None: the SHA-256 of the first download
            is kept in ``<path>.sha256`` and compared by `check_unchanged` from then on.
        also: What else would do, for the message, e.g. ``" (or x_64.npz)"``.

    Raises:
        InputError: No network, no such address, a torn download or another checksum; it says which
            file goes where.
    """

    def download(aside: Path) -> Path:
        try:
            got = _retrieve(url, aside, path.name, checksum)
            if checksum is None:
                write_text(_record(path), sha256(got) + "\n")
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path.name} could not be downloaded ({reason}); put {path.name}{also} into "
                f"{path.parent}, from {url}."
            ) from None
        return got

    return make_whole(path, download)


def _retrieve(url: str, folder: Path, name: str, checksum: str | None) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    return Path(pooch.retrieve(url, checksum, name, folder, progressbar=sys.stderr.isatty()))


def check_unchanged(path: Path) -> str:
    """The SHA-256 of a file, compared with that of its first download where one was recorded.

    Raises:
        InputError: If the file is not the one that was downloaded.
    """
    digest = sha256(path)
    record = _record(path)
    if record.is_file() and record.read_text(encoding="utf-8").strip() != digest:
        raise InputError(
            f"{path}: is not the file that was downloaded first (its SHA-256 is not that in {record.name}); "
            f"remove it to fetch it again, or remove {record.name} to trust it."
        )
    return digest


def sha256(path: Path) -> str:
    """The SHA-256 of a file, hex.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); restore or remove it.") from None


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
