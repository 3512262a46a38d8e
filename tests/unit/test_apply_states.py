"""The states of a change, on paper: kept, on trial, confirmed, taken back; killed, rebooted, full, damaged.

tests/integration/test_apply*.py has the same router on a real kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nftrtsp.errors import BusyError, KernelError, NftrtspError, StateError, UnsupportedError
from nftrtsp.ruleset import apply, archive, boot, lifeline, lock, trial
from nftrtsp.ruleset.apply import Wanted
from nftrtsp.ruleset.trial import TrialState
from tests.unit.paper_router import PaperNft, PaperRouter, full_from, killed_before, stand

BOX, SECOND, THIRD = "192.168.1.200", "192.168.1.201", "192.168.1.202"


@pytest.fixture
def router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PaperRouter]:
    with stand(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def old(router: PaperRouter) -> Wanted:
    """A ruleset that was applied and kept."""
    wanted = router.want(BOX)
    apply.apply(router.nft, wanted)
    return wanted


@pytest.fixture
def new(router: PaperRouter) -> Wanted:
    """Another one: a box more, a port less, so that sets and rules differ."""
    return router.want(BOX, SECOND, ports=(8554,))


def good() -> str | None:
    saved = archive.good()
    return saved.text if saved else None


def states() -> set[TrialState]:
    return {state for state in TrialState if trial.folder(state).is_dir()}


# Kept


def test_what_is_applied_is_in_the_kernel_and_good(router: PaperRouter, old: Wanted, new: Wanted) -> None:
    outcome = apply.apply(router.nft, new)
    assert outcome.kept
    assert router.table() == new.table
    assert good() == new.text
    assert [entry.text for entry in archive.history() if isinstance(entry, archive.Saved)] == [old.text]
    assert states() == set()


def test_nothing_to_do_touches_neither_kernel_nor_disk(router: PaperRouter, old: Wanted) -> None:
    def look() -> list[tuple[str, int, int]]:
        places = [router.paper.path, *router.state.rglob("*")]
        return [(str(p), p.stat().st_ino, p.stat().st_mtime_ns) for p in places if p.name != lock.NAME]

    before = look()
    assert not apply.apply(router.nft, old).plan
    assert look() == before


def test_counters_and_open_pinholes_go_along(router: PaperRouter, old: Wanted, new: Wanted) -> None:
    router.nft.run("add element inet nftrtsp pinholes { 27336 timeout 1h : 192.168.1.200 . 27336 }")
    text = router.nft.list_table()
    assert text is not None
    (kept,) = [line.strip() for line in text.splitlines() if "nftrtsp:input-drop" in line]
    chain = "\tchain input {\n"
    router.paper.path.write_text(text.replace(kept, kept.replace("packets 0 bytes 0", "packets 7 bytes 700")))
    assert chain in text
    apply.apply(router.nft, new)
    after = router.nft.list_table()
    assert after is not None
    assert "counter packets 7 bytes 700 drop" in after
    assert "27336 timeout 1h expires 1h : 192.168.1.200 . 27336" in after


def test_a_plan_that_is_no_longer_what_was_shown_is_not_carried_out(
    router: PaperRouter, old: Wanted, new: Wanted
) -> None:
    shown = apply.plan(router.nft, new)
    router.nft.run("add element inet nftrtsp stbs { 192.168.1.77 }")
    before = router.table()
    with pytest.raises(BusyError, match="changed since the plan was shown"):
        apply.apply(router.nft, new, shown=shown)
    assert router.table() == before


# On trial


def test_a_trial_is_confirmed(router: PaperRouter, old: Wanted, new: Wanted) -> None:
    outcome = apply.apply(router.nft, new, confirm_within=600)
    assert outcome.trial is not None
    assert outcome.trial.left == 600
    assert (router.table(), good(), states()) == (new.table, old.text, {TrialState.ARMED})
    apply.confirm()
    assert (router.table(), good(), states()) == (new.table, new.text, set())


def test_a_trial_whose_time_runs_out_is_taken_back(router: PaperRouter, old: Wanted, new: Wanted) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    router.let_the_deadline_pass()
    assert (router.table(), good(), states()) == (old.table, old.text, {TrialState.REVERTED})
    with pytest.raises(StateError, match="too late"):
        apply.confirm()


def test_the_first_change_ever_is_taken_back_to_nothing(router: PaperRouter, new: Wanted) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    router.let_the_deadline_pass()
    assert router.table() is None
    assert good() is None


def test_a_trial_is_taken_back_at_once_when_asked(router: PaperRouter, old: Wanted, new: Wanted) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    assert apply.go_back() is not None
    assert (router.table(), good(), states()) == (old.table, old.text, {TrialState.REVERTED})
    assert apply.go_back() is None


def test_the_next_command_makes_up_for_a_way_back_that_died(
    router: PaperRouter, old: Wanted, new: Wanted
) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    lifeline.disarm(trial.folder(TrialState.ARMED))
    router.clock += 601
    third = router.want(THIRD)
    outcome = apply.apply(router.nft, third)
    assert any("not confirmed in time" in remark for remark in outcome.remarks)
    assert (router.table(), good()) == (third.table, third.text)
    history = [entry.text for entry in archive.history() if isinstance(entry, archive.Saved)]
    assert history == [old.text]


@pytest.mark.parametrize("command", ["apply", "restore"])
def test_nothing_else_is_changed_while_a_trial_waits(
    router: PaperRouter, old: Wanted, new: Wanted, command: str
) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    with pytest.raises(BusyError, match="waits for its confirmation, 600 s are left"):
        apply.apply(router.nft, old) if command == "apply" else apply.restore(router.nft)
    assert (router.table(), states()) == (new.table, {TrialState.ARMED})


def test_a_way_back_that_cannot_be_armed_keeps_everything_as_it_is(
    router: PaperRouter, old: Wanted, new: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise StateError("the way back could not be armed")

    monkeypatch.setattr(lifeline, "_by_process", refuse)
    with pytest.raises(StateError):
        apply.apply(router.nft, new, confirm_within=600)
    assert (router.table(), good(), states()) == (old.table, old.text, set())


def test_remove_ends_a_trial_and_what_is_loaded_at_boot(
    router: PaperRouter, old: Wanted, new: Wanted
) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    assert apply.remove(router.nft)
    assert (router.table(), good(), states()) == (None, None, set())
    assert apply.restore(router.nft)[0] is None


def test_remove_puts_back_what_stood_there_before_us(router: PaperRouter, new: Wanted) -> None:
    router.nft.load("table inet nftrtsp {\n\tchain mine {\n\t\tcounter packets 1 bytes 2 accept\n\t}\n}\n")
    before = router.table()
    apply.apply(router.nft, new)
    assert apply.remove(router.nft)
    assert router.table() == before


# Refused by the kernel, or changed by another


class Meddled(PaperNft):
    """Another program that puts a rule into our table after each of the first ``times`` loads."""

    times = 1

    def load(self, text: str) -> None:
        super().load(text)
        if self.times:
            self.times -= 1
            self.run("add rule inet nftrtsp input accept")


class Narrow(PaperNft):
    """A kernel that does not take the way from one ruleset to the next, only a whole one."""

    def load(self, text: str) -> None:
        if not text.startswith("table inet nftrtsp\ndelete table inet nftrtsp\n"):
            raise KernelError("it is in use, so the kernel does not let it go")
        super().load(text)


@pytest.mark.parametrize("seconds", [None, 600], ids=["for good", "on trial"])
def test_what_the_kernel_refuses_leaves_no_trace(
    router: PaperRouter, old: Wanted, seconds: int | None
) -> None:
    text = old.text.replace(
        "\tchain ", '\tct helper films {\n\t\ttype "rtsp" protocol tcp\n\t}\n\n\tchain ', 1
    )
    scratch = PaperNft(router.paper.__class__(router.folder / "other.nft", frozenset({"rtsp"})))
    scratch.load(text)
    table = apply.live(scratch)
    assert table is not None
    with pytest.raises(UnsupportedError, match="no conntrack helper of type 'rtsp'"):
        apply.apply(router.nft, Wanted(text, table), confirm_within=seconds)
    assert (router.table(), good(), states()) == (old.table, old.text, set())


@pytest.mark.parametrize("seconds", [None, 600], ids=["for good", "on trial"])
def test_where_the_kernel_made_something_else_of_it_the_old_one_is_back(
    router: PaperRouter, old: Wanted, new: Wanted, seconds: int | None
) -> None:
    with pytest.raises(KernelError, match="made something else"):
        apply.apply(Meddled(router.paper), new, confirm_within=seconds)
    assert (router.table(), good(), states()) == (old.table, old.text, set())


def test_a_way_that_the_kernel_refuses_is_gone_as_a_whole_table(
    router: PaperRouter, old: Wanted, new: Wanted
) -> None:
    apply.apply(Narrow(router.paper), new)
    assert (router.table(), good()) == (new.table, new.text)


# The machine boots


def test_a_boot_loads_what_was_good(router: PaperRouter, old: Wanted) -> None:
    router.reboot("second")
    saved = boot.restore()
    assert saved is not None
    assert router.table() == old.table


def test_a_boot_ends_a_trial(router: PaperRouter, old: Wanted, new: Wanted) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    router.reboot("second")
    assert boot.restore() is None  # not so simple
    saved, remarks = apply.restore(router.nft)
    assert saved is not None
    assert remarks == ["the machine was booted before the last change was confirmed, so it is gone"]
    assert (router.table(), states()) == (old.table, {TrialState.REVERTED})


def test_a_boot_after_a_confirmation_that_was_interrupted_loads_what_was_confirmed(
    router: PaperRouter, old: Wanted, new: Wanted
) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    trial.move(TrialState.ARMED, TrialState.CONFIRMED)
    router.reboot("second")
    assert boot.restore() is None
    apply.restore(router.nft)
    assert (router.table(), good(), states()) == (new.table, new.text, set())


def test_a_boot_without_a_good_ruleset_loads_none(router: PaperRouter) -> None:
    assert boot.restore() is None
    assert apply.restore(router.nft) == (None, [])
    assert router.table() is None


def test_a_boot_without_nft_takes_the_long_way(
    router: PaperRouter, old: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.reboot("second")
    monkeypatch.setenv("PATH", str(router.folder / "nowhere"))
    assert boot.restore() is None
    apply.restore(router.nft)
    assert router.table() == old.table


# Damaged files


@pytest.fixture
def two_kept(router: PaperRouter, old: Wanted, new: Wanted) -> PaperRouter:
    apply.apply(router.nft, new)
    router.reboot("second")
    return router


def test_a_good_ruleset_cut_off_anywhere_gives_way_to_the_one_before(
    two_kept: PaperRouter, old: Wanted
) -> None:
    whole = archive.good_path().read_bytes()
    for length in (0, 1, 50, 100, 150, 200, 300, len(whole) // 2, len(whole) - 1):
        archive.good_path().write_bytes(whole[:length])
        two_kept.paper.wipe()
        assert boot.restore() is None, length
        assert two_kept.table() is None, length
        saved, remarks = apply.restore(two_kept.nft)
        assert saved is not None, length
        assert two_kept.table() == old.table, length
        assert "took 000001.nft instead" in remarks[-1]


def test_one_byte_that_differs_anywhere_is_noticed(two_kept: PaperRouter) -> None:
    whole = archive.good_path().read_bytes()
    start = whole.index(b"\n") + 1  # the first line is only for people
    for place in range(start, len(whole), 23):
        changed = bytearray(whole)
        changed[place] ^= 1
        archive.good_path().write_bytes(changed)
        try:
            saved = archive.good()
        except StateError:
            continue
        assert saved is not None
        assert saved.text.encode() == whole[whole.index(b"\n", start) + 1 :]  # it was by whom, or when


def test_where_all_are_damaged_none_is_loaded(two_kept: PaperRouter) -> None:
    for path in (archive.good_path(), *archive.history_dir().iterdir()):
        path.write_text("table inet nftrtsp { chain x { drop; } }")
    with pytest.raises(StateError):
        apply.restore(two_kept.nft)
    assert two_kept.table() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"id": 5}'])
def test_a_trial_that_cannot_be_read_counts_as_over(
    router: PaperRouter, old: Wanted, new: Wanted, text: str
) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    (trial.folder(TrialState.ARMED) / trial.META).write_text(text)
    router.reboot("second")
    apply.restore(router.nft)
    assert router.table() == old.table


# The lock


def test_a_second_command_is_told_who_holds_the_lock(router: PaperRouter) -> None:
    with (
        lock.changing("`nftrtsp apply`"),
        pytest.raises(BusyError, match=rf"`nftrtsp apply` \(process {os.getpid()}\) is changing the ruleset"),
        lock.changing("`nftrtsp confirm`", patience=0.06),
    ):
        raise AssertionError("it has the lock twice")


def test_the_lock_of_a_process_that_was_killed_is_free(router: PaperRouter) -> None:
    pid = os.fork()
    if pid == 0:
        with lock.changing("a test"):
            os._exit(0)
    os.waitpid(pid, 0)
    with lock.changing("another", patience=0):
        pass


# Killed at each of its steps


def every_step(act: Callable[[], object], after: Callable[[int], None]) -> None:
    """Kill ``act`` before its first step, then before its second, …; each time see what ``after`` says."""
    step = 1
    while killed_before(step, act):
        after(step)
        step += 1
    assert step > 10, "it has hardly any steps"


@pytest.mark.parametrize("then", ["the same again", "a boot", "a boot with nothing but nft"])
def test_an_apply_killed_anywhere_leaves_the_old_ruleset_or_the_new_one(
    router: PaperRouter, old: Wanted, new: Wanted, then: str
) -> None:
    def after(step: int) -> None:
        assert router.table() in (old.table, new.table), step
        if then == "the same again":
            apply.apply(router.nft, new)
            assert (router.table(), good()) == (new.table, new.text), step
        else:
            router.reboot(f"after {step}")
            if then == "a boot" or boot.restore() is None:
                apply.restore(router.nft)
            assert (router.table(), good()) in ((old.table, old.text), (new.table, new.text)), step
        assert states() <= {TrialState.NEW}, step
        apply.apply(router.nft, old)
        assert good() == old.text

    every_step(lambda: apply.apply(router.nft, new), after)


def test_an_apply_on_trial_killed_anywhere_goes_back_or_has_done_nothing(
    router: PaperRouter, old: Wanted, new: Wanted
) -> None:
    def after(step: int) -> None:
        assert router.table() in (old.table, new.table), step
        router.clock += 10_000
        outcome = apply.apply(router.nft, old)  # any command that changes something
        assert (router.table(), good()) == (old.table, old.text), (step, outcome)
        assert states() <= {TrialState.NEW, TrialState.REVERTED}, step

    every_step(lambda: apply.apply(router.nft, new, confirm_within=600), after)


def test_a_confirmation_killed_anywhere_is_none_or_is_finished(
    router: PaperRouter, old: Wanted, new: Wanted
) -> None:
    def begin() -> None:
        apply.apply(router.nft, old)
        apply.apply(router.nft, new, confirm_within=600)

    def after(step: int) -> None:
        assert router.table() == new.table, step
        if TrialState.ARMED in states():
            apply.confirm()
        else:
            assert not apply.apply(router.nft, new).plan
        assert (router.table(), good(), states()) == (new.table, new.text, set()), step
        begin()

    begin()
    every_step(apply.confirm, after)


def test_a_rollback_killed_anywhere_is_made_good_by_the_next(
    router: PaperRouter, old: Wanted, new: Wanted
) -> None:
    apply.apply(router.nft, new, confirm_within=600)
    step = 1
    while killed_before(step, apply.go_back):
        assert router.table() in (old.table, new.table), step
        apply.go_back()
        assert (router.table(), good(), states()) == (old.table, old.text, {TrialState.REVERTED}), step
        apply.apply(router.nft, new, confirm_within=600)
        step += 1
    assert (router.table(), states()) == (old.table, {TrialState.REVERTED})


# A disk that is full from each of its steps on


@pytest.mark.parametrize("seconds", [None, 600], ids=["for good", "on trial"])
def test_a_disk_that_is_full_stops_a_change_or_does_not_matter(
    router: PaperRouter, old: Wanted, new: Wanted, seconds: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    step = 1
    while True:

        def act() -> None:
            try:
                apply.apply(router.nft, new, confirm_within=seconds)
            except NftrtspError as error:
                os._exit(3 if "make room there" in str(error) else 4)

        code = full_from(step, router.state, act)
        if code == -1:
            break
        assert code in (0, 3), (step, capfd.readouterr().err)
        if code == 0 or states() & {TrialState.CONFIRMED, TrialState.ARMED}:
            assert router.table() == new.table, step
        else:
            assert (router.table(), good()) == (old.table, old.text), step
        router.clock += 10_000
        apply.apply(router.nft, old)
        assert (router.table(), good()) == (old.table, old.text), step
        step += 1
    assert step > 5
