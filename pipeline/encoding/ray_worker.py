"""What runs in each worker of a Ray cluster; imports no Ray. A worker loads its backbone once, and writes shards.

Results go through the file system that the nodes share, as everywhere: a shard appears under its name when it is whole.
What a call returns is small.
"""

import os
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.encoding.counts import Counts
from pipeline.encoding.modalities import EncodeJob
from pipeline.encoding.plan import Plan
from pipeline.encoding.planned import PlannedShards
from pipeline.encoding.rowcache import RowCache
from pipeline.encoding.shard_encoder import Layout, ShardEncoder
from pipeline.errors import ConfigError, PermafrostError
from pipeline.features.claims import Claim
from pipeline.features.scratch import explain_full_disk
from pipeline.paths import WORK_VARIABLE

_TAKEN_OVER = ("HF_", "PERMAFROST_")  # variables that workers have from the stage and not from their node


@dataclass(frozen=True)
class Home:
    """Where the stage runs; workers go there too.

    Attributes:
        folder: of the project.
        work: the work folder.
        package: the folder of this code.
        torch: the version of PyTorch, without how it was built.
        variables: of the environment.
    """

    folder: str
    work: str
    package: str
    torch: str
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls, work: Path) -> "Home":
        """This process."""
        taken = {name: value for name, value in os.environ.items() if name.startswith(_TAKEN_OVER)}
        return cls(str(Path.cwd()), str(work), _package(), _torch(), taken)

    def enter(self) -> None:
        """Make this process work there.

        Raises:
            ConfigError: this machine does not have it, or has other code or another PyTorch.
        """
        node = node_name()
        if not Path(self.folder).is_dir() or not Path(self.work).is_dir():
            missing = self.work if Path(self.folder).is_dir() else self.folder
            raise ConfigError(
                f"engine: ray: the folder {missing} is not there on {node}. All nodes of the cluster need "
                "the folder of the project and the work folder at the same path, on a file system that they share."
            )
        for what, mine, expected in (("Permafrost", _package(), self.package), ("PyTorch", _torch(), self.torch)):
            if mine != expected:
                raise ConfigError(
                    f"engine: ray: {what} on {node} is {mine}, that of the stage is {expected}. Start Ray on every "
                    "node in the folder of the project, with the same environment."
                )
        os.chdir(self.folder)
        os.environ.update(self.variables | {WORK_VARIABLE: self.work})


def _package() -> str:
    return str(Path(__file__).resolve().parents[1])


def _torch() -> str:
    from importlib.metadata import version

    return version("torch").partition("+")[0]


def node_name() -> str:
    """The name of this machine, as rates and messages call it."""
    return socket.gethostname()


@dataclass(frozen=True)
class Outcome:
    """What became of a shard: `counts` of writing it, or None if another process is writing it."""

    counts: Counts | None
    seconds: float = 0.0


class Worker:
    """One backbone.

    Every method returns an error that a user can fix in place of raising it: Ray would wrap it.

    Args:
        home: of the stage.
        job: of the store, with what this worker may use.
    """

    def __init__(self, home: Home, job: EncodeJob) -> None:
        self._home, self._job = home, job
        self._publisher = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._encoder: ShardEncoder | None = None
        self._plan = Plan((), 1)
        self._shards: PlannedShards | None = None
        self._layout: Layout | None = None
        self._cache: RowCache | None = None

    def enter(self) -> str | PermafrostError:
        """Go to the folder of the project; gives the name of the machine."""
        try:
            self._home.enter()
            return node_name()
        except PermafrostError as error:
            return error

    def layout(self) -> Layout | PermafrostError:
        """See `ShardEncoder`; notes the layout for the others."""
        try:
            return self._prepared().layout()
        except PermafrostError as error:
            return error

    def tokens(self, ids: Sequence[str]) -> list[int] | PermafrostError:
        """See `ShardEncoder`."""
        try:
            return self._prepared().tokens(ids)
        except PermafrostError as error:
            return error

    def write(self, number: int, key: str, ahead: Sequence[int], shard_rows: int) -> Outcome | PermafrostError:
        """Write the shard `number`, whose name is `key`, unless another process does.

        Args:
            ahead: which shards this worker will be asked for next.
            shard_rows: rows of a whole shard.
        """
        try:
            with explain_full_disk():
                return self._write(number, key, ahead, shard_rows)
        except PermafrostError as error:
            return error

    def _prepared(self) -> ShardEncoder:
        if self._encoder is None:
            self._plan, load = self._job.plan_and_loader()
            self._encoder = ShardEncoder(self._job.fingerprint(), load)
        return self._encoder

    def _opened(self, shard_rows: int) -> tuple[ShardEncoder, PlannedShards, Layout, RowCache]:
        encoder = self._prepared()
        if self._shards is None or self._layout is None or self._cache is None:
            self._layout = encoder.layout()
            self._shards = PlannedShards(encoder.scratch, Plan(self._plan.ids, shard_rows))
            missing = [number for number, shard in enumerate(self._shards.finished()) if shard is None]
            wanted = self._shards.ids_of(missing)
            self._cache = RowCache(encoder.scratch, self._layout.stored, wanted)
        return encoder, self._shards, self._layout, self._cache

    def _write(self, number: int, key: str, ahead: Sequence[int], shard_rows: int) -> Outcome:
        started = time.monotonic()
        encoder, shards, layout, cache = self._opened(shard_rows)
        if number >= len(shards) or shards.keys[number] != key:
            raise ConfigError(
                f"engine: ray: the index that {node_name()} sees in {self._home.folder} is not the one of the stage. "
                "Is the folder shared, and is the index being written?"
            )
        claim = Claim.take(shards.scratch, key)
        if claim is None:
            return Outcome(None)
        settings = self._job.settings
        counts = Counts(settings.name, shards.total_rows, settings.encode.max_failure_rate)
        with claim:
            if shards.find(number) is None:
                later = (shards.ids(following) for following in ahead)
                ids, quiet = shards.ids(number), int
                encoder.write(ids, later, shard_rows, layout, cache, counts, self._publisher, quiet).result()
        return Outcome(counts, time.monotonic() - started)
