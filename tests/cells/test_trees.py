import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cells import packing
from cells.decoding import Decoding, Unreadable, out_of_reach
from cells.packing import pack, pack_readable
from cells.sources import FolderData, SplitFolderData, read
from runtime.errors import InputError


def tree(root: Path, count: int = 10, size: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def test_unreadable_files_are_an_error_that_counts_them(tmp_path: Path) -> None:
    root = tree(tmp_path / "t")
    (root / "a" / "3.png").write_bytes(b"")
    (root / "b" / "4.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a/3\.png: the file is empty.*2 of 20 .*data\.unreadable=0 "):
        read(FolderData(root=root, image_size=8))
    with pytest.raises(InputError, match=r"2 of 20 .*data\.unreadable=0\.09 "):
        read(FolderData(root=root, image_size=8, unreadable=0.09))


def test_unreadable_files_are_left_out_where_allowed(tmp_path: Path) -> None:
    root = tree(tmp_path / "t")
    (root / "a" / "3.png").write_bytes(b"")
    (root / "b" / "4.png").write_bytes(b"no image")
    for _ in range(2):  # the second reads the cache
        loaded = read(FolderData(root=root, image_size=8, unreadable=0.1))
        assert loaded.cells.counts == {"a": 9, "b": 9}
        assert "a/3.png" not in loaded.cells.names
        assert loaded.unreadable["a/3.png"] == "the file is empty (0 bytes)"
        assert loaded.unreadable["b/4.png"].startswith("not a readable image")
        row = list(loaded.cells.names).index("b/5.png")
        alone = pack([root / "b" / "5.png"], 8)[0]
        assert np.array_equal(loaded.cells.pixels[row], alone)


def test_a_class_without_readable_images_is_the_usual_error(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", count=3)
    for i in range(2):
        (root / "b" / f"{i}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"t/b: has one image"):
        read(FolderData(root=root, image_size=8, unreadable=0.5))


def test_settings_that_do_not_fit_are_no_unreadable_files(tmp_path: Path) -> None:
    root = tree(tmp_path / "t")
    for name in ("f", "g"):
        Image.fromarray(np.full((12, 12), 2, np.float32)).save(root / "a" / f"{name}.tif")
    with pytest.raises(InputError, match=r"f\.tif.*data\.decoding\.depth.*\(2 of 22 images are such\)\.$"):
        read(FolderData(root=root, image_size=8, unreadable=0.5))
    minmax = Decoding(depth="minmax")
    assert len(read(FolderData(root=root, image_size=8, decoding=minmax)).cells) == 22


def test_what_is_passed_over_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "t")
    (root / "notes.txt").touch()
    (root / ".git").mkdir()
    (root / "a" / ".DS_1.jpg").touch()
    (root / "a" / "deeper").mkdir()
    (root / "b" / "Thumbs.db").touch()
    loaded = read(FolderData(root=root, image_size=8))
    assert loaded.ignored == (".git/", "notes.txt", "a/.DS_1.jpg", "a/deeper/", "b/Thumbs.db")
    assert len(loaded.cells) == 20


def test_what_lies_beside_the_sides_is_named(tmp_path: Path) -> None:
    for side in ("train", "test", "extra"):
        tree(tmp_path / "t" / side)
    (tmp_path / "t" / "test" / "a" / "x.txt").touch()
    loaded = read(SplitFolderData(root=tmp_path / "t", image_size=8))
    assert loaded.ignored == ("extra/", "test/a/x.txt")


def test_a_broken_link_is_not_passed_over(tmp_path: Path) -> None:
    root = tree(tmp_path / "t")
    (root / "a" / "link.png").symlink_to(tmp_path / "unmounted.png")
    with pytest.raises(InputError, match=r"link\.png: cannot be read"):
        read(FolderData(root=root, image_size=8))


def test_a_broken_link_is_set_aside_like_a_damaged_file_until_it_is_mended(tmp_path: Path) -> None:
    root = tree(tmp_path / "t")
    (root / "a" / "link.png").symlink_to(tmp_path / "unmounted.png")
    (root / "b" / "loop.png").symlink_to(root / "b" / "loop.png")
    settings = FolderData(root=root, image_size=8, unreadable=0.5)
    for _ in range(2):  # the second reads the cache
        loaded = read(settings)
        assert len(loaded.cells) == 20
        assert loaded.unreadable["a/link.png"] == "cannot be read (No such file or directory)"
        assert "symbolic links" in loaded.unreadable["b/loop.png"]
    (tmp_path / "unmounted.png").write_bytes((root / "a" / "0.png").read_bytes())
    assert list(read(settings).unreadable) == ["b/loop.png"]


def test_a_machine_that_gives_out_is_no_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Too many open files") as error:
        out_of_reach(tmp_path / "a.png", OSError(errno.EMFILE, "Too many open files"))
    assert not isinstance(error.value, Unreadable)


def test_the_cache_knows_the_decoding_and_the_threads_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.arange(144, dtype=np.uint16).reshape(12, 12)).save(path)
    assert pack([path], 12, threads=1).max() == 1
    assert pack([path], 12, decoding=Decoding(depth="minmax"), threads=2).max() == 255
    paths = sorted((tree(tmp_path / "t", count=100) / "a").iterdir())  # more than one chunk
    one, two = (pack(paths, 8, cache=tmp_path / f"{n}", threads=n) for n in (1, 2))
    assert np.array_equal(one, two)


def test_several_unreadable_are_counted(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        path.touch()
    with pytest.raises(InputError, match=r"0\.png: the file is empty.*3 of 3 images"):
        pack(paths, 8)
    packed = pack_readable(paths, 8)
    assert packed.pixels.shape == (0, 8, 8, 3) and list(packed.unreadable) == [0, 1, 2]


CHILD = """
import sys, time
from pathlib import Path
from cells import packing
decode = packing.decode
def slow(path, decoding):
    time.sleep(0.05)
    return decode(path, decoding)
packing.decode = slow
packing.pack(sorted(Path(sys.argv[1]).glob("*.png")), 8, cache=Path(sys.argv[2]), threads=1)
"""


def test_killed_while_packing_the_next_start_recovers(tmp_path: Path) -> None:
    folder, cache = tree(tmp_path / "t", count=200) / "a", tmp_path / "cache"
    child = subprocess.Popen([sys.executable, "-c", CHILD, folder, cache], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 120
    while not (left := list(cache.glob(".pack-*"))):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not list(cache.glob("pack-*.npy"))
    old = time.time() - packing.ABANDONED - 1
    os.utime(left[0], (old, old))
    paths = sorted(folder.glob("*.png"))
    packed = pack(paths, 8, cache=cache)
    assert np.array_equal(packed, pack(paths, 8, cache=tmp_path / "other"))
    assert not list(cache.glob(".pack-*")), "the torn file is gone"
    assert len(list(cache.glob("pack-*.npy"))) == 1


def test_a_split_tree_read_as_a_folder_is_told(tmp_path: Path) -> None:
    for side in ("train", "test"):
        tree(tmp_path / "t" / side, count=2)
    with pytest.raises(InputError, match=r"looks like a split tree .*source=split_folder"):
        read(FolderData(root=tmp_path / "t", image_size=8))


def test_what_prepare_refused_is_told(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text('{"refused": "x.png: is in train and in test."}')
    with pytest.raises(InputError, match=r"prepare refused \(x\.png: is in train and in test\); see"):
        read(SplitFolderData(root=tmp_path, image_size=8))


def test_a_folder_of_class_folders_in_the_place_of_a_class_is_told(tmp_path: Path) -> None:
    for folder in ("a", "Original/Benign", "Original/Early"):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / folder / f"{i}.png")
    with pytest.raises(InputError, match=r"Original: has no images of its own, .*Benign, Early.*data\.root"):
        read(FolderData(root=tmp_path, image_size=8))
