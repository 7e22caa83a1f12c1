"""Pictures behind addresses, fetched only where the caller asks for it."""

import base64
import binascii
import re
from urllib.error import URLError
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import Request, urlopen

from pipeline.errors import DataError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif")
_MOST_BYTES = 64 << 20
_SECONDS = 30
_DATA = re.compile(r"data:image/[\w.+-]+(;[\w=.+-]+)*,", re.ASCII)


def is_address(text: str) -> bool:
    """Whether a string is an http or https address and nothing else."""
    return text.startswith(("http://", "https://")) and not any(map(str.isspace, text))


def is_picture_address(text: str) -> bool:
    """Whether a string is an address whose path ends like a picture's, as sentence-transformers decides."""
    try:
        return is_address(text) and urlsplit(text).path.lower().endswith(_SUFFIXES)
    except ValueError:
        return False


def is_data_uri(text: str) -> bool:
    """Whether a string carries a picture itself."""
    return _DATA.match(text) is not None


def data_bytes(uri: str) -> bytes:
    """The file inside a data URI.

    Raises:
        DataError: its base64 is damaged.
    """
    head, _, content = uri.partition(",")
    if not head.endswith(";base64"):
        return unquote_to_bytes(content)
    try:
        return base64.b64decode(unquote_to_bytes(content), validate=True)
    except binascii.Error as error:
        raise DataError(f"The data URI {uri[:40]!r}... holds no valid base64: {error}") from error


def fetch(address: str) -> bytes:
    """The file at an address, at most 64 MiB of it, within 30 seconds of silence.

    Raises:
        DataError: it cannot be had, or is larger.
    """
    try:
        with urlopen(Request(address, headers={"User-Agent": "permafrost"}), timeout=_SECONDS) as answer:
            content: bytes = answer.read(_MOST_BYTES + 1)
    except (URLError, OSError, ValueError) as error:
        raise DataError(f"{address} cannot be fetched: {error}") from error
    if len(content) > _MOST_BYTES:
        raise DataError(f"{address} is larger than {_MOST_BYTES >> 20} MiB; fetch it yourself and pass the file.")
    return content
