from __future__ import annotations

import errno
import pickle

import pytest

from nftrtsp.errors import ConfigError, HelperAbsentError, KernelError, NftrtspError


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("lacks a value", place="nftrtsp.toml: iptv.interface", remedy="name it"),
        KernelError("is full", errno=errno.ENFILE),
        HelperAbsentError("the kernel knows no such helper", remedy="start it", errno=errno.ENOENT),
    ],
)
def test_an_error_is_the_same_on_the_other_side_of_a_pipe(error: NftrtspError) -> None:
    error.exit_code = 1
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert there.__dict__ == error.__dict__
    assert there.args == error.args
