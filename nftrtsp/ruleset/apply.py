"""Apply: snapshot, one transaction, verify, keep or go back.

What a process killed in between leaves is settled by the next one; :mod:`nftrtsp.ruleset.trial` has the
states.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from nftrtsp import paths
from nftrtsp.errors import BusyError, KernelError, NftrtspError, StateError, UnsupportedError
from nftrtsp.ruleset import archive, diff, disk, lifeline, lock, ownership, transition, trial
from nftrtsp.ruleset.diff import Plan
from nftrtsp.ruleset.kernel import Nft
from nftrtsp.ruleset.listing import read_table
from nftrtsp.ruleset.model import Table
from nftrtsp.ruleset.scratch import canonical_listing
from nftrtsp.ruleset.trial import Trial, TrialState

LAST = "last.json"
ORIGIN = "origin.nft"


class Wanted(msgspec.Struct, frozen=True):
    """A ruleset to have: the text to keep, its canonical form, and what stood in for helper ``rtsp``."""

    text: str
    table: Table
    kind: str = ""
    stand_in: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What apply did. ``trial`` is set where it waits for a confirmation; ``remarks`` are for people."""

    plan: Plan
    adopted: int = 0
    trial: Trial | None = None
    armed: str = ""
    kept: bool = False
    remarks: tuple[str, ...] = ()


#: Deletes the conntrack entries that must get the helper anew; returns how many. Set by the caller, who has
#: the config.
Adopt = Callable[[], int]


def want(text: str, kind: str = "", *, place: str | None = None) -> Wanted:
    """Load ``text`` in a scratch namespace and return what the kernel makes of it.

    Raises what :meth:`Nft.run` raises when the kernel refuses it, and StateError when it is not our table;
    they name ``place``, the file that the text is from.
    """
    listing, stand_in = canonical_listing(text, source=place)
    table = read_table(listing)
    if table is None:
        raise StateError("the ruleset holds no table inet nftrtsp", place=place)
    return Wanted(text, table, kind, stand_in)


def live(nft: Nft) -> Table | None:
    """Return our table as it is in the kernel, in canonical form; None where it is absent."""
    return read_table(nft.list_table(stateless=True))


def plan(nft: Nft, wanted: Wanted) -> Plan:
    """Return what apply would do."""
    return diff.compare(live(nft), wanted.table)


def apply(
    nft: Nft,
    wanted: Wanted,
    *,
    shown: Plan | None = None,
    confirm_within: int | None = None,
    adopt: Adopt | None = None,
) -> Outcome:
    """Bring the kernel to ``wanted``, verify, and keep it; with ``confirm_within`` seconds, on trial.

    ``shown`` is the plan that the user agreed to. Raises :class:`BusyError` when a change is pending, when
    another process is changing the ruleset, or when the plan is no longer what was shown;
    :class:`KernelError` when the kernel refuses (nothing changed) or made something else of it (put back).
    """
    with lock.changing("`nftrtsp apply`"):
        remarks = recover()
        _refuse_pending()
        now = plan(nft, wanted)
        if shown is not None and now.changes != shown.changes:
            raise BusyError("the ruleset changed since the plan was shown", remedy="look again, then apply")
        if not now:
            return Outcome(now, kept=_keep_as_good(wanted), remarks=tuple(remarks))
        outcome = _change(nft, wanted, now, confirm_within)
        adopted, remark = _adopt(adopt)
        remarks += remark
        return msgspec.structs.replace(outcome, adopted=adopted, remarks=tuple(remarks))


def _change(nft: Nft, wanted: Wanted, now: Plan, confirm_within: int | None) -> Outcome:
    """Snapshot, arm, load, verify, keep."""
    before = read_table(nft.list_table(), timed=True)
    _remember_origin(now.old)
    change = _describe(wanted, now, confirm_within)
    listing = lifeline.landmark(nft.list_table(stateless=True))
    trial.stage(change, _files(wanted, now, before, listing, change))
    trial.drop(TrialState.REVERTED)
    armed = ""
    if confirm_within is None:
        trial.move(TrialState.NEW, TrialState.LOADING)
    else:
        folder = trial.move(TrialState.NEW, TrialState.ARMED)
        try:
            armed = lifeline.arm(folder, change.id, confirm_within)
        except BaseException:
            trial.drop(TrialState.ARMED)
            raise
    state = TrialState.LOADING if confirm_within is None else TrialState.ARMED
    with _undisturbed():
        _load(nft, wanted, now.old, before, state)
        if confirm_within is None:
            _keep()
    _note_last(change, "kept" if confirm_within is None else "on trial")
    on_trial = None if confirm_within is None else change
    return Outcome(now, trial=on_trial, armed=armed, kept=on_trial is None)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C, a closed terminal or a polite kill wait until the change is whole."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _send(nft: Nft, old: Table | None, wanted: Table, before: Table | None) -> None:
    """Load what differs; if the kernel refuses that way there, and only then, the whole table anew."""
    try:
        nft.load(transition.transition(old, wanted, before))
    except UnsupportedError:
        raise
    except KernelError:
        if old is None:
            raise
        nft.load(transition.replacement(transition.with_counters(wanted, before)))


def _load(nft: Nft, wanted: Wanted, old: Table | None, before: Table | None, state: TrialState) -> None:
    """Load, list again and compare; whatever goes wrong, the old ruleset is there again at the end."""
    folder = trial.folder(state)
    try:
        _send(nft, old, wanted.table, before)
    except NftrtspError:
        lifeline.disarm(folder)
        trial.drop(state)  # refused: nothing of a transaction stays
        raise
    left = diff.compare(live(nft), wanted.table)
    if not left and folder.is_dir():
        return
    nft.load(transition.replacement(before))
    lifeline.disarm(folder)
    trial.drop(state)
    if left:
        raise KernelError(
            f"the kernel made something else of the ruleset ({left.summary}), so the old one is back",
            remedy="did another program change the table at the same time? See `nftrtsp diff`",
        )
    raise BusyError("the time ran out before the ruleset was loaded, so the old one is back")


def _adopt(adopt: Adopt | None) -> tuple[int, list[str]]:
    """Do the caller's part; the ruleset is in place, so a failure is a remark."""
    if adopt is None:
        return 0, []
    try:
        return adopt(), []
    except NftrtspError as error:
        return 0, [f"connections that are open keep going without the helper: {error}"]


def recover() -> list[str]:
    """Finish what a killed process, or a reboot, left undone; return what was done. The caller has the lock.

    A trial that still has time left stays.
    """
    found = trial.find()
    if found is None:
        return []
    state, change = found
    if state is TrialState.CONFIRMED:
        _promote()
        return ["finished keeping a ruleset that was confirmed"]
    if state is TrialState.LOADING:
        trial.drop(TrialState.LOADING)
        return ["an earlier apply was interrupted; it left the old ruleset or the new one, whole"]
    if not change.of_this_boot:
        trial.move(TrialState.ARMED, TrialState.REVERTED)
        return ["the machine was booted before the last change was confirmed, so it is gone"]
    if change.left > 0:
        return []
    lifeline.take(trial.folder(TrialState.ARMED), change.id)
    return ["the last change was not confirmed in time; went back now"]


def confirm() -> Trial:
    """Keep what is on trial: it becomes the good ruleset. Raises :class:`StateError` when nothing is."""
    with lock.changing("`nftrtsp confirm`"):
        recover()
        found = trial.find()
        if found is None:
            gone = trial.reverted()
            if gone is not None and gone.id:
                raise StateError(
                    "too late: the change was taken back", remedy="see `nftrtsp status`, then apply again"
                )
            raise StateError("nothing waits for a confirmation", remedy="see `nftrtsp status`")
        # Decided first, then disarmed: where it cannot be written, the way back is still taken.
        lifeline.disarm(trial.move(TrialState.ARMED, TrialState.CONFIRMED))
        _promote()
        _note_last(found[1], "confirmed")
        return found[1]


def go_back() -> Trial | None:
    """Take back what is on trial, now; None when nothing is."""
    with lock.changing("`nftrtsp rollback`"):
        recover()
        found = trial.find()
        if found is None:
            return None
        lifeline.take(trial.folder(TrialState.ARMED), found[1].id)
        lifeline.disarm(trial.folder(TrialState.REVERTED))
        _note_last(found[1], "taken back")
        return found[1]


def remove(nft: Nft) -> bool:
    """Take our table away and put back what stood in its place before us; return whether there was any.

    The good ruleset goes to the history, so that nothing is loaded at boot.
    """
    with lock.changing("`nftrtsp remove`"):
        recover()
        on_trial = trial.find() is not None
        there = live(nft) is not None
        ownership.require(paths.state_dir() / ORIGIN)  # the lock has looked at the directory
        origin = disk.read(paths.state_dir() / ORIGIN)
        if on_trial:
            disk.require_writable(paths.state_dir())
        archive.retire()  # first: where it cannot be written, nothing is changed
        if there or origin:
            nft.load(origin or transition.replacement(None))
        if on_trial:  # its way back is armed until there is nothing to take back
            lifeline.disarm(trial.folder(TrialState.ARMED))
            trial.drop(TrialState.ARMED)
        if origin is not None:
            (paths.state_dir() / ORIGIN).unlink(missing_ok=True)
        if there:
            with contextlib.suppress(StateError):  # it is done, whether it can be noted or not
                trial.note(LAST, {"time": time.time(), "by": whoami(), "result": "removed"})
        return there


def restore(nft: Nft) -> tuple[archive.Saved | None, list[str]]:
    """Load the good ruleset, as at boot; return it (None: there is none) and what there is to say.

    A damaged good ruleset gives way to the newest intact one of the history.
    """
    with lock.changing("`nftrtsp restore`"):
        remarks = recover()
        _refuse_pending()
        saved, remark = archive.newest_intact()
        if remark:
            remarks.append(remark)
        if saved is not None:
            nft.load(saved.text)
        return saved, remarks


def whoami() -> str:
    """Return who does this: the user behind sudo, and from where over SSH."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    address = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
    return f"{user} from {address}" if address else user


def _refuse_pending() -> None:
    found = trial.find()
    if found is None:
        return
    raise BusyError(
        f"a change by {found[1].by} waits for its confirmation, {max(0, round(found[1].left))} s are left",
        remedy="run `nftrtsp confirm` or `nftrtsp rollback` first",
    )


def _describe(wanted: Wanted, now: Plan, confirm_within: int | None) -> Trial:
    seconds = confirm_within or 0
    return Trial(
        id=os.urandom(6).hex(),
        boot=trial.boot_id(),
        started=time.time(),
        by=whoami(),
        kind=wanted.kind,
        summary=now.summary,
        deadline=time.time() + seconds if confirm_within is not None else 0.0,
        ends=trial.boottime() + seconds if confirm_within is not None else 0.0,
    )


def _files(wanted: Wanted, now: Plan, before: Table | None, listing: str, change: Trial) -> dict[str, str]:
    """Return everything that a later step needs, so that no later step needs room on the disk."""
    sealed = archive.seal(wanted.text, by=change.by, kind=wanted.kind, summary=now.summary)
    files = {trial.WANTED: sealed}
    if change.deadline:
        files[trial.BACK] = transition.transition(wanted.table, now.old, before)
        files[trial.FULL] = transition.replacement(before)
        files[trial.PLAIN] = transition.replacement(now.old)
        files[trial.BEFORE] = listing
        files[trial.SCRIPT] = lifeline.script(change.id)
    return files


def _keep() -> None:
    trial.move(TrialState.LOADING, TrialState.CONFIRMED)
    _promote()


def _promote() -> None:
    """Make what was confirmed the good ruleset. Idempotent: a killed process may have done the half of it."""
    sealed = trial.folder(TrialState.CONFIRMED) / trial.WANTED
    if sealed.exists():
        archive.promote(sealed)
    trial.drop(TrialState.CONFIRMED)


def _keep_as_good(wanted: Wanted) -> bool:
    """The kernel has it already; keep it for the next boot if that is not so yet."""
    try:
        good = archive.good()
    except StateError:
        good = None
    if good is not None and good.text == wanted.text:
        return False
    change = Trial(os.urandom(6).hex(), trial.boot_id(), time.time(), whoami(), wanted.kind, "")
    sealed = archive.seal(wanted.text, by=change.by, kind=wanted.kind)
    trial.stage(change, {trial.WANTED: sealed})
    trial.move(TrialState.NEW, TrialState.LOADING)
    _keep()
    return True


def _remember_origin(old: Table | None) -> None:
    """At our very first change, keep what stood in our table's place, for ``remove``."""
    never = not archive.good_path().exists() and not archive.history_dir().is_dir()
    if never and old is not None and not (paths.state_dir() / ORIGIN).exists():
        disk.make_folder(paths.state_dir())
        disk.write(paths.state_dir() / ORIGIN, transition.replacement(old))


def _note_last(change: Trial, result: str) -> None:
    """Write down who changed what and when. Only for people: a full disk must not undo an apply."""
    fields = {"time": change.started, "by": change.by, "summary": change.summary, "result": result}
    with suppress(NftrtspError):
        trial.note(LAST, fields)
