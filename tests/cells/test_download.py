"""Downloads from a local server, and archives: whole and verified, or not there."""

import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cells.archives import Limits, unpacked
from cells.download import check_unchanged, fetch
from cells.whole import make_whole
from runtime.errors import InputError

CONTENT = bytes(range(256)) * 400
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        whole = {"/torn": CONTENT[:5000], "/corrupt": CONTENT[:-1] + b"x"}
        self.wfile.write(whole.get(self.path, CONTENT))

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_download_is_verified_and_kept(server: str, tmp_path: Path) -> None:
    for _ in range(2):
        path = fetch(f"{server}/whole", tmp_path / "new" / "x.bin", MD5)
        assert path.read_bytes() == CONTENT
    assert Handler.asked == ["/whole"]
    assert visible(path.parent) == {"x.bin"}


@pytest.mark.parametrize("what", ["torn", "corrupt", "gone"])
def test_a_bad_download_leaves_nothing_and_says_what_to_do(server: str, tmp_path: Path, what: str) -> None:
    with pytest.raises(InputError, match=rf"put x\.bin into {tmp_path}, from {server}/{what}"):
        fetch(f"{server}/{what}", tmp_path / "x.bin", MD5)
    assert visible(tmp_path) == set()
    assert fetch(f"{server}/whole", tmp_path / "x.bin", MD5).read_bytes() == CONTENT


def test_a_torn_download_is_noticed_without_a_checksum(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be downloaded"):
        fetch(f"{server}/torn", tmp_path / "x.bin")
    assert visible(tmp_path) == set()


def test_no_server_is_an_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match=r"x\.zip could not be downloaded.*put x\.zip \(or y\) into"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x.zip", also=" (or y)")


def test_what_a_killed_download_left_is_replaced(server: str, tmp_path: Path) -> None:
    (tmp_path / ".x.bin.tmp").mkdir()
    (tmp_path / ".x.bin.tmp" / "tmp123").write_bytes(b"half")
    fetch(f"{server}/whole", tmp_path / "x.bin", MD5)
    assert visible(tmp_path) == {"x.bin"}


def test_without_a_checksum_the_first_download_counts(server: str, tmp_path: Path) -> None:
    path = fetch(f"{server}/whole", tmp_path / "x.bin")
    assert check_unchanged(path) == hashlib.sha256(CONTENT).hexdigest()
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(InputError, match=r"x\.bin: is not the file that was downloaded first"):
        check_unchanged(path)


# -------------------------------------------------------------------------------------- archives


def packed(path: Path, entries: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in entries.items():
                file.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as file:
            for name, content in entries.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_an_archive_is_unpacked_once(tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / name, {"a/b.txt": b"1", "a/c d.txt": b"2", "__MACOSX/._b": b"3"})
    folder = unpacked(archive)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        "a/b.txt",
        "a/c d.txt",
    }
    (folder / "a" / "b.txt").unlink()
    assert not (unpacked(archive) / "a" / "b.txt").exists()  # read from where it was


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
@pytest.mark.parametrize(
    "name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt"]
)
def test_an_entry_cannot_leave_the_folder(tmp_path: Path, ending: str, name: str) -> None:
    archive = packed(tmp_path / f"x.{ending}", {"good.txt": b"1", name: b"2"})
    with pytest.raises(InputError, match="would be written elsewhere"):
        unpacked(archive)
    assert visible(tmp_path / "cache" / "unpacked") == set()
    assert not list(tmp_path.rglob("out.txt"))


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as file:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        file.addfile(link)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed_links:
        info = zipfile.ZipInfo("a")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed_links.writestr(info, "/etc")
    for name in ("x.tar.gz", "x.zip"):
        with pytest.raises(InputError, match="'a' is a link"):
            unpacked(tmp_path / name)


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_bombs_are_refused(tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / name, {f"{i}.bin": bytes(1 << 20) for i in range(4)})
    with pytest.raises(InputError, match="would take more than 3 MiB"):
        unpacked(archive, Limits(total=3 << 20))
    with pytest.raises(InputError, match="unpack it by hand"):
        unpacked(archive, Limits(ratio=10, free=1 << 20))
    with pytest.raises(InputError, match="more than 3 entries"):
        unpacked(archive, Limits(files=3))
    assert visible(tmp_path / "cache" / "unpacked") == set()
    assert len(list(unpacked(archive).iterdir())) == 4


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_a_torn_archive_is_named(tmp_path: Path, name: str) -> None:
    archive = packed(
        tmp_path / name, {f"{i}.bin": hashlib.sha256(bytes([i])).digest() * 99 for i in range(9)}
    )
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"{name}: cannot be unpacked"):
        unpacked(archive)
    assert visible(tmp_path / "cache" / "unpacked") == set()


def test_an_interrupted_unpacking_recovers(tmp_path: Path) -> None:
    folder = tmp_path / "done"
    (tmp_path / ".done.tmp").mkdir()  # a killed process cleans nothing
    (tmp_path / ".done.tmp" / "half").write_bytes(b"1")

    def interrupted(aside: Path) -> Path:
        (aside / "half").write_bytes(b"1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_whole(folder, interrupted)
    assert visible(tmp_path) == set()

    def made(aside: Path) -> Path:
        (aside / "all").touch()
        return aside

    assert visible(make_whole(folder, made)) == {"all"}
    assert make_whole(folder, interrupted) == folder, "what is there is whole, and stays"


def test_what_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    def full(aside: Path) -> Path:
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=rf"{tmp_path}: cannot be written \(No space left on device\)"):
        make_whole(tmp_path / "x", full)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: cannot be written"):
        make_whole(tmp_path / "file" / "x", full)
    assert visible(tmp_path) == {"file"}
