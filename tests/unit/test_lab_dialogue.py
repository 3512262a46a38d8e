"""The lab's own RTSP text, how a film's URI asks for a behaviour, and which transport the provider takes."""

from __future__ import annotations

import asyncio

import pytest

from nftrtsp.lab import behaviour, dialogue, registry
from nftrtsp.lab.behaviour import Behaviour
from nftrtsp.lab.dialogue import Frame, LabMessage
from nftrtsp.lab.provider import choose_transport


async def _read(data: bytes) -> list[LabMessage | Frame]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found: list[LabMessage | Frame] = []
    while True:
        try:
            found.append(await dialogue.read(reader))
        except asyncio.IncompleteReadError:
            return found


async def test_what_is_written_is_read_again() -> None:
    sent = dialogue.request("SETUP", "rtsp://a/1", {"CSeq": "7", "Transport": "x"}) + dialogue.response(
        200, {"CSeq": "7"}, "body"
    )
    request, response = await _read(sent)
    assert isinstance(request, LabMessage)
    assert (request.method, request.uri, request.cseq) == ("SETUP", "rtsp://a/1", 7)
    assert isinstance(response, LabMessage)
    assert (response.is_response, response.status, response.body) == (True, 200, "body")


async def test_binary_frames_lie_between_messages() -> None:
    found = await _read(dialogue.frame(1, b"$RTSP") + dialogue.request("PLAY", "*", {}))
    assert found[0] == Frame(1, b"$RTSP")
    assert isinstance(found[1], LabMessage)


def test_parameters_of_a_transport() -> None:
    assert dialogue.parameters("MP2T/H2221/UDP;unicast;client_port=27336") == {
        "": "MP2T/H2221/UDP",
        "unicast": "",
        "client_port": "27336",
    }


def test_a_uri_names_the_film_and_its_behaviour() -> None:
    number, how = behaviour.of_uri(
        "rtsp://172.26.83.10:554/film/42?mbps=4.5&setup-status=453", Behaviour(mute=1)
    )
    assert number == 42
    assert (how.mbps, how.setup_status, how.mute, how.early) == (4.5, 453, 1, 0)


@pytest.mark.parametrize(
    "uri", ["rtsp://a/film/x", "rtsp://a/film/1?nonsense=1", "rtsp://a/film/1?mbps=fast", "*"]
)
def test_a_uri_that_means_nothing_is_an_error(uri: str) -> None:
    with pytest.raises(ValueError, match=r"invalid|no behaviour|could not"):
        behaviour.of_uri(uri, Behaviour())


@pytest.mark.parametrize(
    ("header", "protocol"),
    [
        ("MP2T/H2221/UDP;unicast;client_port=27336", "MP2T/H2221/UDP"),
        ("RAW/RAW/UDP;unicast;client_port=54020-54021;mode=play", "RAW/RAW/UDP"),
        ("MP2T/H2221/UDP;client_port=2012;destination=10.11.180.86;unicast", "MP2T/H2221/UDP"),
        ("MP2T/UDP;unicast;destination=192.168.1.200:5000", "MP2T/UDP"),
        ("RTP/AVP;unicast, MP2T/RTP/UDP;unicast;client_port=1/2", "MP2T/RTP/UDP"),
        ("RTP/AVP/TCP;unicast;interleaved=0-1,RTP/AVP;unicast;client_port=1-2", "RTP/AVP/TCP"),
        ("RTP/AVP;unicast;client_port=0", None),
        ("RTP/AVP;unicast;client_port=x", None),
        ("", None),
    ],
)
def test_the_first_transport_that_can_be_done_is_taken(header: str, protocol: str | None) -> None:
    chosen = choose_transport(header)
    assert (chosen[0] if chosen else None) == protocol


@pytest.mark.parametrize(("value", "patience"), [("5", 5.0), ("0.1", 1.0), ("soon", 1.0), ("", 1.0)])
def test_patience_stretches_waits_and_never_shrinks_them(
    monkeypatch: pytest.MonkeyPatch, value: str, patience: float
) -> None:
    monkeypatch.setenv("NFTRTSP_LAB_PATIENCE", value)
    assert registry.patience() == patience
