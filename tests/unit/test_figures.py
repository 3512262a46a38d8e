"""What people read: sizes, rates, times and addresses."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from nftrtsp import figures


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0, "0 s"), (40.9, "40 s"), (60, "1 min"), (99, "1 min 39 s"), (3560, "59 min 20 s"),
     (7500, "2 h 5 min"), (7200, "2 h"), (7230, "2 h"), (90000, "1 d 1 h"), (360000, "4 d 4 h")],
)  # fmt: skip
def test_a_duration_has_at_most_two_units_and_no_zero(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.9, "4s"), (151, "2:31"), (11100, "3:05:00"), (187200, "52:00:00")]
)
def test_a_brief_duration_keeps_its_width_while_it_counts(seconds: float, text: str) -> None:
    assert figures.brief(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.00241, "2.4 ms"), (0.34, "340 ms"), (1.2, "1200 ms")])
def test_a_latency_is_in_milliseconds(seconds: float, text: str) -> None:
    assert figures.latency(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (812, "812 B"), (1500, "1.5 kB"), (999_960, "1.0 MB"), (5_000_000, "5.0 MB"),
     (3 * 10**9, "3.0 GB"), (2 * 10**12, "2.0 TB")],
)  # fmt: skip
def test_a_size_is_in_powers_of_ten(octets: int, text: str) -> None:
    assert figures.size(octets) == text


@pytest.mark.parametrize(
    ("bits", "long", "short"),
    [(None, "-", "-"), (0, "0 bit/s", "0"), (999.6, "1.0 kbit/s", "1.0k"), (6_400_000, "6.4 Mbit/s", "6.4M"),
     (120_400_000, "120 Mbit/s", "120M"), (1.5e9, "1.5 Gbit/s", "1.5G")],
)  # fmt: skip
def test_a_rate_is_in_bits(bits: float | None, long: str, short: str) -> None:
    assert (figures.rate(bits), figures.rate(bits, short=True)) == (long, short)


def test_times_of_day_agree_to_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    at = 1795409655.9996
    assert figures.clock(at) == "04:54:15"
    assert figures.moment(at) == "04:54:16.000", "rounded once, seconds and all"
    assert figures.date(at) == "2026-11-23 04:54:15"


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [("192.168.1.200", 27336, "192.168.1.200:27336"), ("192.168.1.200", None, "192.168.1.200"),
     ("::1", 554, "[::1]:554"), ("::1", None, "::1")],
)  # fmt: skip
def test_an_endpoint_is_one_text_packed_or_not(host: str, port: int | None, text: str) -> None:
    assert figures.endpoint(host, port) == figures.endpoint(ip_address(host).packed, port) == text


def test_a_count_carries_its_plural() -> None:
    told = [figures.counted(number, "film") for number in (0, 1, 1200)]
    assert told == ["0 films", "1 film", "1,200 films"]
