"""How many processes were started to do one piece of work, by the environment that torchrun gives each of them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import ConfigError

COUNT = "WORLD_SIZE"
_NEEDED = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """This process among those that were started together.

    Attributes:
        rank, count: its number, from 0, and how many there are.
        local_rank, local_count: the same of those on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and decides."""
        return self.rank == 0


def launched(environment: Mapping[str, str] | None = None) -> Launch:
    """This process, alone unless `WORLD_SIZE` says otherwise.

    Args:
        environment: by default that of the process.

    Raises:
        ConfigError: there are several, and what each must know is missing or impossible.
    """
    found = os.environ if environment is None else environment
    if found.get(COUNT, "1") == "1":
        return Launch()
    again = (
        "Start the processes with: torchrun --standalone --nproc-per-node 2 -m stages.train +item=NAME; for a single "
        f"one, unset {COUNT}."
    )
    missing = [name for name in _NEEDED if not found.get(name)]
    if missing:
        raise ConfigError(
            f"{COUNT} is {found[COUNT]!r}, so this is one of several processes, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set in its environment. {again}"
        )
    numbers = (found["RANK"], found[COUNT], found["LOCAL_RANK"], found["LOCAL_WORLD_SIZE"])
    try:
        launch = Launch(*map(int, numbers))
        possible = 0 <= launch.rank < launch.count and 0 <= launch.local_rank < launch.local_count <= launch.count
    except ValueError:
        possible = False
    if not possible:
        said = ", ".join(
            f"{name}={value!r}" for name, value in zip(("RANK", COUNT, *_NEEDED[1:3]), numbers, strict=True)
        )
        raise ConfigError(f"{said} do not describe one of several processes: ranks count from 0. {again}")
    return launch


def require_alone(what: str, why: str) -> None:
    """Refuse work that several processes would only do several times.

    Raises:
        ConfigError: this is one of several processes.
    """
    launch = launched()
    if launch.count > 1:
        raise ConfigError(
            f"{what} runs in one process, and {launch.count} were started: {why}. Run it without torchrun (and without "
            f"{COUNT} in the environment)."
        )
