"""A state or run directory that cannot be used: the remedy is one that helps against that very error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nftrtsp.errors import StateError
from nftrtsp.helper.lock import Lock
from nftrtsp.ruleset import disk


def test_a_file_where_a_directory_should_be_is_named(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("")
    with pytest.raises(StateError, match=f"file exists; the file {file} is in the way: move it"):
        disk.make_folder(file)
    with pytest.raises(StateError, match=f"not a directory; the file {file} is in the way: move it"):
        disk.make_folder(file / "history")
    with pytest.raises(StateError, match=f"not a directory; the file {file} is in the way: move it"):
        disk.write(file / "good.nft", "x")


def test_a_directory_where_a_file_should_be_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "good.nft"
    folder.mkdir()
    with pytest.raises(StateError, match=f"is a directory; the directory {folder} is in the way: move it"):
        disk.read(folder)
    with pytest.raises(StateError, match=f"is a directory; the directory {folder} is in the way: move it"):
        disk.write(folder, "x")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_run_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("")
    with pytest.raises(StateError, match=f"{file}: cannot be used: file exists; the file {file} is in"):
        Lock(file)
    (tmp_path / "other" / "helper.pid").mkdir(parents=True)
    with pytest.raises(StateError, match=r"helper\.pid is in the way"):
        Lock(tmp_path / "other")
    (tmp_path / "other" / "helper.pid").rmdir()
    Lock(tmp_path / "other").release()  # what failed has let go of it


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "mount that file system writable"),
        (errno.EMFILE, "limit of open files"),
        (errno.EIO, "repair the file system"),
    ],
)
def test_the_remedy_fits_the_error(number: int, words: str, tmp_path: Path) -> None:
    assert words in disk.remedy(OSError(number, os.strerror(number)), tmp_path / "x")
