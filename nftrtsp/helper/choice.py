"""Which helper serves here: what ``rtsp.helper`` names, or for ``auto`` the first that works.

The order is kernel, userspace, pinhole (docs: three helpers, one config). :func:`look` gathers what this
machine shows, cheaply and without root where it can; :func:`decide` is pure. `generate`, `apply`, `status`
and `helper` all ask :func:`choose`, so they agree.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path

import msgspec

from nftrtsp import paths
from nftrtsp.config import Config, HelperKind
from nftrtsp.errors import NftrtspError, UnsupportedError
from nftrtsp.privilege import is_network_admin
from nftrtsp.ruleset.names import CT_HELPER_TYPE

MODULE = "nf_conntrack_rtsp"
NAT_MODULE = "nf_nat_rtsp"
CTHELPER_MODULE = "nfnetlink_cthelper"
UNLOAD = f"modprobe -r {NAT_MODULE} {MODULE}"

_PINNED = f"the loaded {MODULE} pins its expectations to the RTSP server's address"

#: What was seen of the module.
_MEMORY = "rtsp-module.json"

_GZIP = 16 + zlib.MAX_WBITS  # zlib reads gzip's header: the module gzip would cost each start 2 ms

_ANY_SOURCE = "any-source"  # how its version ends: contrib/dkms/any-source.sh

#: nfnetlink_cthelper depends on the other two in Kconfig, so a kernel that has it has them.
_CTHELPER_OPTION = "CONFIG_NF_CT_NETLINK_HELPER"


class Attempt(msgspec.Struct, frozen=True):
    """One kind that ``auto`` tried: whether it works here, and one clause why."""

    kind: HelperKind
    works: bool
    why: str


class Choice(msgspec.Struct, frozen=True):
    """The helper that serves here. ``why`` is one sentence; ``tried`` is empty unless ``auto`` chose."""

    kind: HelperKind
    why: str
    tried: tuple[Attempt, ...] = ()


class Evidence(msgspec.Struct, frozen=True):
    """What a machine shows of its helpers.

    ``pinned`` is None where no expectation of the module has been seen yet. ``cthelper`` is None where
    neither the kernel's configuration nor the kernel itself could be asked. ``release`` is uname's.
    """

    module: bool = False
    nat_module: bool = False
    pinned: bool | None = None
    cthelper: bool | None = None
    release: str = ""


def choose(config: Config) -> Choice:
    """Return the helper that serves ``config`` on this machine. Never raises, needs no root."""
    if config.rtsp.helper is HelperKind.KERNEL and is_loaded(MODULE):
        return decide(HelperKind.KERNEL, Evidence(module=True, pinned=pinned()))
    if config.rtsp.helper is not HelperKind.AUTO:
        return decide(config.rtsp.helper, Evidence())
    return decide(HelperKind.AUTO, look())


def decide(wanted: HelperKind, evidence: Evidence) -> Choice:
    """Return the choice for ``wanted`` on a machine that shows ``evidence`` (pure)."""
    if wanted is not HelperKind.AUTO:
        why = f"rtsp.helper names {wanted}"
        if wanted is HelperKind.KERNEL and evidence.pinned:
            why += f", though {_PINNED}: a film from another server is dropped"
        return Choice(wanted, why)
    tried: list[Attempt] = []
    for attempt in (_kernel(evidence), _userspace(evidence), _pinhole()):
        tried.append(attempt)
        if attempt.works:
            break
    clauses = [f"not {a.kind}: {a.why}" for a in tried if not a.works]
    return Choice(tried[-1].kind, "; ".join([tried[-1].why, *clauses]), tuple(tried))


def _kernel(evidence: Evidence) -> Attempt:
    if not evidence.module:
        return Attempt(HelperKind.KERNEL, False, f"{MODULE} is not loaded")
    if not evidence.nat_module:
        return Attempt(HelperKind.KERNEL, False, f"{MODULE} is loaded without {NAT_MODULE}")
    if evidence.pinned:
        return Attempt(HelperKind.KERNEL, False, _PINNED)
    state = "is any-source" if evidence.pinned is False else "is loaded, and no pinned expectation was seen"
    return Attempt(HelperKind.KERNEL, True, f"{MODULE} {state}")


def _userspace(evidence: Evidence) -> Attempt:
    if evidence.module:
        # nf_conntrack_helper_register() answers EEXIST to a second helper of that name.
        why = f"the loaded {MODULE} holds the name {CT_HELPER_TYPE} (`{UNLOAD}` frees it)"
        return Attempt(HelperKind.USERSPACE, False, why)
    if evidence.cthelper is None:
        why = f"whether Linux {evidence.release} has {CTHELPER_MODULE} cannot be told without root"
        return Attempt(HelperKind.USERSPACE, False, why)
    if not evidence.cthelper:
        why = f"Linux {evidence.release} lacks {CTHELPER_MODULE}"
        return Attempt(HelperKind.USERSPACE, False, why)
    return Attempt(HelperKind.USERSPACE, True, f"Linux {evidence.release} has {CTHELPER_MODULE}")


def _pinhole() -> Attempt:
    return Attempt(HelperKind.PINHOLE, True, "it needs only nftables and NFLOG")


def look(*, ask: bool = True) -> Evidence:
    """Gather the evidence. As root the kernel itself is asked; else its files. Never raises.

    Without ``ask`` its files come first: cheap, and no module is loaded by asking (for `generate`).
    """
    release = os.uname().release
    module = is_loaded(MODULE)
    return Evidence(
        module=module,
        nat_module=is_loaded(NAT_MODULE),
        pinned=pinned() if module else None,
        cthelper=None if module else has_cthelper(release, ask=ask),
        release=release,
    )


def is_loaded(module: str) -> bool:
    """Whether a kernel module is loaded; a module with parameters shows also when it is built in."""
    return Path("/sys/module", module).is_dir()


def has_cthelper(release: str, *, ask: bool = True) -> bool | None:
    """Whether the kernel can take helpers from userspace; None where that cannot be told.

    The running kernel is asked where that is allowed (it may load ``nfnetlink_cthelper`` for the answer);
    without CAP_NET_ADMIN its configuration and its folder of modules tell. Source: net/netfilter/Kconfig.
    """
    if is_loaded(CTHELPER_MODULE):
        return True
    if not ask and (told := _configured(release)) is not None:
        return told
    if is_network_admin():
        asked = _ask_kernel()
        if asked is not None:
            return asked
    return _configured(release)


def _ask_kernel() -> bool | None:
    from nftrtsp.helper.userspace import cthelper

    try:
        with cthelper.Registry() as registry:
            registry.dump()
    except NftrtspError as error:
        return False if isinstance(error, UnsupportedError) else None
    return True


def _configured(release: str) -> bool | None:
    option = _kernel_option(_CTHELPER_OPTION, release)
    if option == "y":
        return True
    try:
        modules = Path("/lib/modules", release, "modules.dep").read_text()
    except OSError:
        # Nothing to load from: a configuration without the option says no, silence says nothing.
        return False if option is not None else None
    return f"/{CTHELPER_MODULE}.ko" in modules


def _kernel_option(name: str, release: str) -> str | None:
    """Return ``y``, ``m`` or ``n`` for a kernel option, or None where no configuration is readable."""
    for path in (
        Path("/proc/config.gz"),
        Path(f"/boot/config-{release}"),
        Path(f"/lib/modules/{release}/config"),
    ):
        try:
            raw = path.read_bytes()
            text = (zlib.decompress(raw, _GZIP) if path.suffix == ".gz" else raw).decode("ascii", "replace")
        except (OSError, zlib.error):
            continue
        for line in text.splitlines():
            if line.startswith(f"{name}="):
                return line.partition("=")[2]
        return "n"
    return None


def pinned() -> bool | None:
    """Whether the loaded module pins its expectations to one source; None where that was never seen.

    The one that contrib/dkms makes says itself that it does not. Of others their live expectations tell,
    as far as this process may read them. What they told root is remembered in the state directory under the
    module's own identity, for once another helper serves the module makes none. The helper's service, which
    is not root and may not look there, has a copy in its run directory.
    """
    with contextlib.suppress(OSError):
        if Path("/sys/module", MODULE, "version").read_text().strip().endswith(_ANY_SOURCE):
            return False
    identity = _module_identity()
    seen = _seen_pinned()
    memory = (paths.state_dir() if os.geteuid() == 0 else paths.run_dir()) / _MEMORY
    if seen is not None:
        _remember(memory, {"module": identity, "pinned": seen})
        return seen
    try:
        told = msgspec.json.decode(memory.read_bytes())
        if told["module"] == identity:
            return bool(told["pinned"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        pass
    return None


def _module_identity() -> str:
    """Return what tells one build of the module from another, as far as /sys shows it."""
    folder = Path("/sys/module", MODULE)
    parts = [os.uname().release]
    for name in ("version", "srcversion", "notes/.note.gnu.build-id"):
        try:
            parts.append((folder / name).read_bytes().hex())
        except OSError:
            parts.append("")
    return ":".join(parts)


def _seen_pinned() -> bool | None:
    from nftrtsp.conntrack.socket import Conntrack

    try:
        with Conntrack() as conntrack:
            every = list(conntrack.dump_expectations())
    except (NftrtspError, OSError):
        return None
    mine = [one for one in every if (one.helper or "").startswith(CT_HELPER_TYPE)]
    if not mine:
        return None
    return any(not one.any_source for one in mine)


def _remember(file: Path, what: dict[str, object]) -> None:
    text = msgspec.json.encode(what).decode() + "\n"
    try:
        if os.geteuid() == 0 and file.parent.is_dir() and (not file.exists() or file.read_text() != text):
            part = file.with_suffix(".part")
            part.write_text(text)
            part.replace(file)
    except OSError:
        pass  # A memory that cannot be kept costs a second look, nothing more.
