from __future__ import annotations

from pathlib import Path

import pytest

from nftrtsp.helper.userspace.saved_sessions import SavedSession, SavedSessions
from nftrtsp.helper.ways import Claim, Connection, Ways

CONNECTION = Connection(b"\xc0\xa8\x01\xc8", 40000, b"\xac\x1a\x53\x0a", 554)


def ways(session: str | None) -> Ways:
    made = Ways("expectation")
    claim = Claim(CONNECTION, "rtsp://s/", 1, 0)
    claim.groups.append((27336,))
    made.open(27336, 27336, claim, 0)
    made.name_session(claim, session, 60 if session else None)
    return made


def test_a_new_helper_knows_which_session_a_way_belongs_to(tmp_path: Path) -> None:
    SavedSessions(tmp_path).write(ways("abc"))
    assert SavedSessions(tmp_path).read() == {27336: SavedSession(27336, "abc", 60)}


def test_what_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    memory = SavedSessions(tmp_path)
    memory.write(ways("abc"))
    memory.path.unlink()
    memory.write(ways("abc"))
    assert not memory.path.exists()
    memory.write(ways(None))
    assert memory.read() == {27336: SavedSession(27336)}


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b'[{"port": "x"}]', b"\xff\xfe", b"null"])
def test_a_damaged_file_is_no_memory(tmp_path: Path, text: bytes) -> None:
    memory = SavedSessions(tmp_path)
    memory.path.write_bytes(text)
    assert memory.read() == {}


def test_without_a_directory_to_write_to_the_helper_goes_on(tmp_path: Path) -> None:
    memory = SavedSessions(tmp_path / "absent")
    memory.write(ways("abc"))
    assert memory.read() == {}
