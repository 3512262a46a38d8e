"""`nftrtsp-helper`, as services start it, and `nftrtsp helper`: the same in all that a user sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nftrtsp import config as configuration
from nftrtsp.cli import daemon
from nftrtsp.errors import BusyError, KernelError, NftrtspError, UnsupportedError
from nftrtsp.helper import serve

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "nftrtsp": [sys.executable, "-c", "from nftrtsp.cli import main; main()"],
    "nftrtsp-helper": [sys.executable, "-c", "from nftrtsp.cli.daemon import main; main()"],
}
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
    """Run a command; ``config`` is what the environment names."""
    command, *rest = words
    done = subprocess.run(
        [*COMMANDS[command], *rest],
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
        (CONFIG, 0, "nothing to run: the kernel module opens the ports"),  # ends at once, needs no root
    ],
    ids=["absent", "wrong", "no TOML", "kernel"],
)
def test_with_and_without_click_the_same_is_said(
    tmp_path: Path, text: str | None, code: int, said: str
) -> None:
    config = tmp_path / "nftrtsp.toml"
    if text is not None:
        config.write_text(text)
    with_click = run("nftrtsp", "helper", f"--config={config}")
    assert with_click[0] == code
    assert said in with_click[2]
    assert run("nftrtsp-helper", "-c", str(config)) == with_click
    assert run("nftrtsp-helper", f"--config={config}") == with_click
    assert run("nftrtsp-helper", config=config) == with_click


def test_what_a_helper_starts_with_leaves_out_what_it_does_not_need(tmp_path: Path) -> None:
    config = tmp_path / "nftrtsp.toml"
    config.write_text(CONFIG)
    script = (
        "import sys; from nftrtsp.cli.daemon import main\n"
        f"sys.argv = ['nftrtsp-helper', '-c', {str(config)!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "import nftrtsp.helper.userspace.helper, nftrtsp.helper.pinhole.helper\n"
        "print(*sorted({'click', 'typing_extensions', 'inspect', 'subprocess'} & set(sys.modules)))\n"
        "import typing_extensions\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "\n"


@pytest.mark.parametrize("words", [["-c"], ["--kind", "x"], ["y"], ["--no-such"]])
def test_arguments_that_are_wrong_are_told_and_nothing_runs(words: list[str]) -> None:
    code, _, said = run("nftrtsp-helper", *words)
    assert (code, said.count("\n")) == (2, 1)
    assert said.endswith("; see nftrtsp-helper --help\n")
    assert run("nftrtsp", "helper", *words)[0] == 2


def test_it_says_how_it_is_used() -> None:
    code, told, said = run("nftrtsp-helper", "--help")
    assert (code, said) == (0, "")
    assert told.startswith("Usage: nftrtsp-helper [-c FILE]")


def test_the_kind_that_is_named_goes_before_the_one_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is served: a helper would run here until somebody ends it."""
    config = tmp_path / "nftrtsp.toml"
    config.write_text(CONFIG)
    asked: list[object] = []
    monkeypatch.setattr(serve, "serve", lambda loaded, kind: asked.append((loaded.rtsp.helper, kind)))
    monkeypatch.setattr(sys, "argv", ["nftrtsp-helper", "-c", str(config), "--kind", "pinhole"])
    daemon.run()
    assert asked == [(configuration.HelperKind.KERNEL, configuration.HelperKind.PINHOLE)]


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
