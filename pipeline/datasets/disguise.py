"""What a file that is not a picture seems to be, and PNG files without the texts that Pillow refuses to unpack."""

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"iCCP", b"zTXt", b"iTXt", b"tEXt")  # colour profiles and comments, which do not change the pixels
_NEEDED = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # may hold the orientation
_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer: run git lfs pull"),
    (b"PK\x03\x04", "a zip archive: unpack it"),
    (b"PK\x05\x06", "a zip archive: unpack it"),
    (b"\x1f\x8b", "gzip data: unpack it"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"\xff\x0a", "JPEG XL, which is not read: convert it to PNG"),
    (b"\0\0\0\x0cJXL ", "JPEG XL, which is not read: convert it to PNG"),
    (b"8BPS", "a Photoshop file, which is not read: convert it to PNG"),
    (b"%!PS", "PostScript, which is not run: convert it to PNG"),
    (b"\xc5\xd0\xd3\xc6", "PostScript, which is not run: convert it to PNG"),
    (b"DDS ", "a DDS texture, which is not read: convert it to PNG"),
    (b"\x76\x2f\x31\x01", "OpenEXR, which is not read: convert it to PNG"),
    (b"SIMPLE  =", "FITS, which is not read: convert it to PNG"),
    (b"\x89HDF", "HDF5"),
    (b"PAR1", "Parquet: use source: table"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"heim": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"avif": "AVIF",
    b"avis": "AVIF",
}


def seems_to_be(content: bytes) -> str:
    """In brackets, what a file that is not an image may be instead, for the message; empty if that is not known."""
    for start, kind in _STARTS:
        if content.startswith(start):
            return f" (it looks like {kind})"
    if content[4:8] == b"ftyp":
        kind = _BRANDS.get(content[8:12], "")
        return f" (it looks like {kind}, which is not read: convert it to JPEG)" if kind else " (it looks like a video)"
    if content[257:262] == b"ustar":
        return " (it looks like a tar: use source: webdataset)"
    head = content[:1024].lstrip().lower()
    for kind, marks in (("SVG", (b"<svg",)), ("HTML", (b"<!doctype html", b"<html")), ("a PDF", (b"%pdf",))):
        if any(mark in head for mark in marks):
            return f" (it looks like {kind})"
    if head[:1] in (b"{", b"["):
        return " (it looks like JSON)"
    return " (all of it is zero)" if not any(content) else ""


def without_text(content: bytes) -> bytes:
    """A PNG without colour profile and comments; anything else as it is.

    Pillow refuses a file in which they unpack to more than a megabyte, although the pixels do not depend on them.
    """
    if not content.startswith(_PNG):
        return content
    kept, start, place = [], 0, len(_PNG)
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] in _TEXTS and not content.startswith(_NEEDED, place + 8):
            kept.append(content[start:place])
            start = end
        place = end
    return b"".join([*kept, content[start:]]) if kept else content
