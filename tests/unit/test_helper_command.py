"""`nftrtsp helper` as services call it, which goes past click: the same in all that a user sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nftrtsp import config as configuration
from nftrtsp.errors import BusyError, KernelError, NftrtspError, UnsupportedError
from nftrtsp.rtsp import serve

ROOT = Path(__file__).parents[2]
NFTRTSP = [sys.executable, "-c", "from nftrtsp.cli import main; main()"]
CONFIG = """profile = "movistar"
[iptv]
interface = "vlan2"
[lan]
interfaces = ["br0"]
networks = ["192.168.1.0/24"]
[rtsp]
helper = "kernel"
"""


def run(*words: str, config: Path | None = None) -> tuple[int, str, str]:
    """Run `nftrtsp WORDS`; ``config`` is what the environment names."""
    done = subprocess.run(
        [*NFTRTSP, *words],
        env={"PYTHONPATH": str(ROOT)} | ({"NFTRTSP_CONFIG": str(config)} if config else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, 2, "there is no such file"),
        ("profile = 3\n", 2, "profile"),
        ("[[[", 2, "line 1"),
        (CONFIG, 0, "nothing to run: the kernel module opens the ways"),  # ends at once, needs no root
    ],
    ids=["absent", "wrong", "no TOML", "kernel"],
)
def test_with_and_without_click_the_same_is_said(
    tmp_path: Path, text: str | None, code: int, said: str
) -> None:
    config = tmp_path / "nftrtsp.toml"
    if text is not None:
        config.write_text(text)
    with_click = run("helper", f"--config={config}")
    assert with_click[0] == code
    assert said in with_click[2]
    assert run("helper", "-c", str(config)) == with_click
    assert run("helper", "--config", str(config)) == with_click
    assert run("helper", config=config) == with_click


def test_what_a_helper_starts_with_leaves_out_what_it_does_not_need(tmp_path: Path) -> None:
    config = tmp_path / "nftrtsp.toml"
    config.write_text(CONFIG)
    script = (
        "import sys; from nftrtsp.cli import main\n"
        f"sys.argv = ['nftrtsp', 'helper', '-c', {str(config)!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "import nftrtsp.rtsp.userspace, nftrtsp.rtsp.pinhole\n"
        "print(*sorted({'click', 'typing_extensions', 'inspect', 'subprocess'} & set(sys.modules)))\n"
        "import typing_extensions\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "\n"


@pytest.mark.parametrize("words", [["helper", "-c"], ["helper", "--kind", "x"], ["helper", "y"]])
def test_words_that_are_wrong_are_click_s_to_tell(words: list[str]) -> None:
    code, _, said = run(*words)
    assert code == 2
    assert "\nError: " in f"\n{said}"


@pytest.mark.parametrize(
    ("error", "code"),
    [(KernelError("no memory"), 1), (UnsupportedError("no NFQUEUE"), 2), (BusyError("held"), 2)],
)
def test_the_exit_code_says_whether_another_try_may_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: NftrtspError, code: int
) -> None:
    """A kernel that is short of memory cannot be had here, so the error is made up."""

    def refuse(_config: object) -> None:
        raise error

    config = tmp_path / "nftrtsp.toml"
    config.write_text(CONFIG)
    monkeypatch.setattr(serve, "choose", refuse)
    with pytest.raises(type(error)) as caught:
        serve.serve(configuration.load(config))
    assert caught.value.exit_code == code
