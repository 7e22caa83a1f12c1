"""Sounds of every kind of file decode to what was written, and each malformed one has its outcome."""

import builtins
import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.audio.decode import Sound, check_sound, decode, resampled
from pipeline.datasets.audio.windows import cut, window_count
from pipeline.errors import DataError, SourceError
from tests.datasets.sounds import RATE, encoded, noise, soundfile, tone

FORMS: dict[str, tuple[str, str | None, float]] = {  # format, subtype, how far a sample may be off
    "8-bit": ("WAV", "PCM_U8", 2.0**-7),
    "16-bit": ("WAV", "PCM_16", 2.0**-15),
    "24-bit": ("WAV", "PCM_24", 2.0**-23),
    "32-bit": ("WAV", "PCM_32", 2.0**-23),
    "float": ("WAV", "FLOAT", 0.0),
    "double": ("WAV", "DOUBLE", 1e-7),
    "A-law": ("WAV", "ALAW", 0.02),
    "flac": ("FLAC", "PCM_16", 2.0**-15),
    "aiff": ("AIFF", "PCM_16", 2.0**-15),
    "vorbis": ("OGG", "VORBIS", 0.1),
    "opus": ("OGG", "OPUS", 0.2),
    "mp3": ("MP3", None, 0.1),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_format(name: str) -> None:
    form, subtype, off = FORMS[name]
    samples = tone()
    content = encoded(samples, form=form, subtype=subtype)
    sound, info = decode(content), check_sound(content)
    assert (sound.rate, info.rate, info.channels) == (RATE, RATE, 1)
    assert info.frames == len(sound.samples)
    assert info.form == form.lower()
    assert sound.samples.dtype == np.float32
    if name not in ("mp3", "opus"):  # which shift or lengthen what they hold
        assert len(sound.samples) == len(samples)
        np.testing.assert_allclose(sound.samples, samples, atol=off + 1e-7)


def float_wav(samples: np.ndarray) -> bytes:
    return encoded(samples.astype(np.float32), subtype="FLOAT")


def with_rate(content: bytes, rate: int) -> bytes:
    """A WAV file whose header states another rate."""
    return content[:24] + struct.pack("<I", rate) + content[28:]


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", "an empty file"),
    "text": (lambda: b"this is no sound at all" * 20, "not a sound that libsndfile reads"),
    "picture with the ending of a sound": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(200), "not a sound"),
    "header alone": (lambda: encoded(tone())[:20], "cut short; its header states"),
    "cut WAV": (lambda: encoded(tone())[:-1000], "cut short; its header states 16,044 bytes, and there are 15,044"),
    "cut AIFF": (lambda: encoded(tone(), form="AIFF")[:-1000], "cut short; its header states"),
    "cut FLAC": (lambda: encoded(noise(0, 2.0), form="FLAC", subtype="PCM_16")[:20_000], "cut short|not a sound"),
    "cut Ogg": (lambda: encoded(noise(0, 2.0), form="OGG", subtype="VORBIS")[:-100], "cut short; its last page"),
    "Ogg cut at a page": (
        lambda: (lambda ogg: ogg[: ogg.rindex(b"OggS")])(encoded(noise(0, 9.0), form="OGG", subtype="VORBIS")),
        "cut short; its last page is not marked as such",
    ),
    "no samples": (lambda: encoded(np.zeros(0, np.float32)), "a sound without samples"),
    "NaN": (lambda: float_wav(np.array([0.1, np.nan, 0.2] * 100)), "NaN or infinite"),
    "infinity": (lambda: float_wav(np.array([0.1, np.inf, 0.2] * 100)), "NaN or infinite"),
    "1 Hz": (lambda: with_rate(encoded(tone()), 1), "a sample rate of 1 Hz; from 1,000 to 768,000 Hz are read"),
    "2 GHz": (lambda: with_rate(encoded(tone()), 2_000_000_000), "a sample rate of 2,000,000,000 Hz"),
    "0 Hz": (lambda: with_rate(encoded(tone()), 0), "a sample rate of 0 Hz|not a sound"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("read", [decode, check_sound])
def test_what_is_refused_has_a_reason(name: str, read: Callable[[bytes], Any]) -> None:
    content, reason = REFUSED[name]
    with pytest.raises(DataError, match=reason) as caught:
        read(content())
    assert len(str(caught.value)) < 300


def test_bytes_behind_the_end_and_a_stream_of_unknown_length_are_no_damage() -> None:
    plain = encoded(tone())
    expected = decode(plain).samples
    np.testing.assert_array_equal(decode(plain + b"appended by a tagger").samples, expected)
    unknown = plain[:4] + b"\xff\xff\xff\xff" + plain[8:]
    np.testing.assert_array_equal(decode(unknown).samples, expected)


def test_channels_are_averaged() -> None:
    buffer = io.BytesIO()
    six = np.stack([tone(100 * (1 + channel)) for channel in range(6)], axis=1)
    soundfile.write(buffer, six, RATE, format="WAV", subtype="FLOAT")
    assert check_sound(buffer.getvalue()).channels == 6
    np.testing.assert_allclose(decode(buffer.getvalue()).samples, six.mean(axis=1), atol=1e-6)


def test_overshoot_stays_and_the_scale_of_integers_is_brought_to_one() -> None:
    loud = tone(peak=1.2)
    np.testing.assert_array_equal(decode(float_wav(loud)).samples, loud)
    integers = tone(peak=0.5) * 32_768
    np.testing.assert_allclose(decode(float_wav(integers)).samples, tone(peak=1.0), atol=1e-3)


def test_silence_is_a_sound() -> None:
    assert not decode(encoded(np.zeros(RATE, np.float32))).samples.any()


def test_an_hour_is_checked_in_pieces_and_read_as_far_as_wanted() -> None:
    minute = noise(1, 60.0, 8_000)
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8_000, 1, "PCM_U8", format="WAV") as file:
        for _ in range(60):
            file.write(minute)
    content = buffer.getvalue()
    assert check_sound(content).seconds == 3600
    start = decode(content, seconds=2.5)
    assert len(start.samples) == 20_000
    np.testing.assert_allclose(start.samples, np.clip(minute[:20_000], -1, 1), atol=0.01)


def test_the_header_alone_is_enough_for_a_quick_check() -> None:
    damaged = bytearray(encoded(noise(0, 2.0), form="FLAC", subtype="PCM_16"))
    damaged[9_000:9_400] = bytes(400)
    assert check_sound(bytes(damaged), whole=False).frames == 2 * RATE
    with pytest.raises(DataError):
        check_sound(bytes(damaged))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 44_101])
def test_resampling_keeps_a_tone(rate: int) -> None:
    out = resampled(Sound(tone(440, 1.0, rate), rate), RATE)
    assert out.dtype == np.float32
    assert abs(len(out) - RATE) <= 2
    inner = slice(1_000, 15_000)  # away from the edges of the filter
    np.testing.assert_allclose(out[inner], tone(440, 1.0)[: len(out)][inner], atol=5e-3)


def test_resampling_to_a_lower_rate_folds_nothing_back() -> None:
    out = resampled(Sound(tone(11_000, 1.0, 44_100), 44_100), RATE)  # above half of the new rate
    assert np.abs(out[1_000:-1_000]).max() < 0.05


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.01, 1), (5.0, 1), (5.05, 1), (5.2, 2), (10.0, 2), (29.0, 6), (3600.0, 6)]
)
def test_windows_of_a_clip(seconds: float, expected: int) -> None:
    assert window_count(seconds, 5.0, 6) == expected
    samples = np.arange(round(seconds * 100), dtype=np.float32)
    windows = cut(samples, 100, 5.0, 6)
    assert len(windows) == expected
    np.testing.assert_array_equal(np.concatenate(windows), samples[: 500 * expected])


def test_without_soundfile_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    own = builtins.__import__

    def none(name: str, *rest: Any) -> Any:
        if name == "soundfile":
            raise ImportError("No module named 'soundfile'")
        return own(name, *rest)

    monkeypatch.setattr(builtins, "__import__", none)
    with pytest.raises(SourceError, match="pip install 'permafrost-align\\[audio\\]'"):
        decode(encoded_before)


encoded_before = encoded(tone())
