"""A share of the shards of one store, for jobs that encode it together without knowing of each other."""

import re
from dataclasses import dataclass

from pipeline.errors import ConfigError

_WRITTEN = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True)
class Part:
    """Part `number` of `of`, counted from 1: the shards whose number leaves the same rest, so that parts are even."""

    number: int
    of: int

    @classmethod
    def parse(cls, written: object) -> "Part":
        """Read `3/64`.

        Raises:
            ConfigError: it is no part of anything.
        """
        found = _WRITTEN.fullmatch(str(written))
        part = cls(int(found[1]), int(found[2])) if found else None
        if part is None or not 1 <= part.number <= part.of:
            raise ConfigError(
                f"+part={written} is no part: write which one of how many, counted from 1, for example +part=3/64 "
                "for the third of 64."
            )
        return part

    def numbers(self, shards: int) -> range:
        """Which of that many shards, counted from 0, are in this part."""
        return range(self.number - 1, shards, self.of)

    def of_shard(self, number: int) -> "Part":
        """The part, of as many, that a shard is in."""
        return Part(number % self.of + 1, self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"
