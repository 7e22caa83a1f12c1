"""The errors a user can meet. Each message says what was expected, what was found, where, and how to mend it."""


class PermafrostError(Exception):
    """Base of every error that a user can mend; a stage prints its message alone and exits with code 1."""


class ConfigError(PermafrostError, ValueError):
    """params.yaml holds an unknown key, a wrong type or an impossible value."""


class SourceError(PermafrostError):
    """A raw source (package, folder, table) is missing, unreachable or not what it should be."""


class CheckpointError(PermafrostError):
    """An encoder checkpoint is missing, incomplete or of a format that is refused."""


class StoreError(PermafrostError):
    """A feature store is missing, incomplete, corrupt or was written by another encoder."""


class NewerStore(StoreError):
    """A feature store is intact, but was written by a newer version than this one."""


class FingerprintMismatch(StoreError):
    """A store does not hold the features that were asked for."""


class MissingRows(StoreError, KeyError):
    """Ids were asked for that the store does not hold."""

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0])


class DataError(PermafrostError):
    """Tables that should fit together do not (no pairs, empty split, unknown dataset)."""


class ModelError(PermafrostError):
    """A trained aligner is missing or damaged, or its training diverged."""
