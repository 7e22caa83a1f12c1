"""Whether the bytes of a sound file end where its container says, which libsndfile does not tell."""

_UNKNOWN = 0x7FFF0000  # sizes from here on stand for a stream whose length nobody knew, and so does 0
_PAGE = 27  # bytes of the header of a page of Ogg, before its table of segments
_LAST = 0x04  # flag of the last page of a stream


def cut_short(content: bytes) -> str | None:
    """Why a file is known to be cut; None where it is whole, or its format does not say."""
    if content[:4] in (b"RIFF", b"FORM") and len(content) >= 8:
        stated = int.from_bytes(content[4:8], "little" if content[:4] == b"RIFF" else "big")
        if 0 < stated < _UNKNOWN and stated + 8 > len(content) + 1:  # some writers forget a padding byte
            return f"cut short; its header states {stated + 8:,} bytes, and there are {len(content):,}"
    if content[:4] == b"OggS":
        return _cut_ogg(content)
    return None


def _cut_ogg(content: bytes) -> str | None:
    """As `cut_short`: every page is whole, and the last one says that it is."""
    start = content.rfind(b"OggS")
    if len(content) < start + _PAGE or len(content) < start + _PAGE + content[start + 26]:
        return "cut short; its last page has no header"
    segments = content[start + _PAGE : start + _PAGE + content[start + 26]]
    end = start + _PAGE + len(segments) + sum(segments)
    if end > len(content):
        return f"cut short; its last page ends at byte {end:,}, and there are {len(content):,}"
    if not content[start + 5] & _LAST:
        return "cut short; its last page is not marked as such"
    return None
