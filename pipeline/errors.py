"""The errors a user may see. Each message says what was expected, what was found, where, and how to fix it."""


class PermafrostError(Exception):
    """Base of every error that a user can fix; a stage prints only its message and exits with code 1."""


class ConfigError(PermafrostError, ValueError):
    """params.yaml holds an unknown key, a wrong type or an impossible value."""


class SourceError(PermafrostError):
    """A raw source (package, folder, table) is missing, unreachable or invalid."""


class CheckpointError(PermafrostError):
    """An encoder checkpoint is missing, incomplete or of an unsupported format."""


class StoreError(PermafrostError):
    """A feature store is missing, incomplete, corrupt or was written by another encoder."""


class NewerStore(StoreError):
    """A feature store is intact, but was written by a newer version than this one."""


class WorkFolderError(StoreError):
    """The work folder holds a link, a pipe or a folder where Permafrost keeps a file."""


class DamagedLock(StoreError):
    """dvc.lock is cut short, not valid, or in the middle of a merge."""


class RemoteError(StoreError):
    """An object store cannot be reached, refuses, or holds something else than it should."""


class FingerprintMismatch(StoreError):
    """A store does not hold the requested features."""


class MissingRows(StoreError, KeyError):
    """Requested ids are not in the store."""

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0])


class DataError(PermafrostError):
    """Tables do not fit together (no pairs, empty split, unknown data set)."""


class ModelError(PermafrostError):
    """A trained aligner is missing or damaged, or its training diverged."""


class ProcessError(PermafrostError):
    """A process of several that work together cannot reach the others."""
