"""A path as a caller of the library writes it, checked once: every method that takes one asks here."""

import errno
import os
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, PermafrostError


def user_path(value: Any, what: str, error: type[PermafrostError] = DataError) -> Path:
    """The path, with the home folder in place of ~; nothing need be there.

    Args:
        what: is expected there, for the message, such as "the folder of a feature store".
        error: what is raised.

    Raises:
        PermafrostError: it is no string and no path, or one that no file can have.
    """
    written = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(written, str):
        raise error(f"Expected {what}, found {type(value).__name__}.")
    try:
        path = Path(written).expanduser()
        os.lstat(path)
    except FileNotFoundError:
        return path
    except RuntimeError as failure:  # of expanduser
        raise error(f"{written!r} cannot be {what}: there is no such user whose home folder it could be.") from failure
    except ValueError as failure:  # NUL, or characters that file names cannot have
        raise error(f"{written!r} cannot be {what}: no file has such a name ({failure}).") from failure
    except OSError as failure:
        if failure.errno == errno.ENAMETOOLONG:
            raise error(f"{written[:80]!r}... cannot be {what}: it is longer than a file name may be.") from failure
    return path
