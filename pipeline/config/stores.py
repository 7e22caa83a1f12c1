"""`stores`: what is encoded, one DVC stage each; and `encode`, how."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from pipeline.config.base import Name, Section, Share
from pipeline.errors import StoreError
from pipeline.object_url import object_url

Group = Literal["pairs", "scenes", "prompts"]
CLASSNAMES = "classnames"  # the texts that the stage prompts writes


def _address(url: str) -> str:
    try:
        return object_url(url)
    except StoreError as error:
        raise ValueError(str(error)) from error


class StoreEntry(Section):
    """One feature store: a data set through a view of an encoder, which is named for DVC's sake.

    With a `url`, s3://bucket/prefix, it lies on an object store: what is published there is taken, else it is encoded
    and published.
    """

    dataset: Name
    view: Name
    encoder: Name
    url: Annotated[str, AfterValidator(_address)] | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        out: dict[str, Any] = write(self)
        if self.url is None:
            out.pop("url", None)
        return out


class StoreSpec(StoreEntry):
    """A store and its group, as `pipeline.paths` lays stores out."""

    group: Group


class Stores(Section):
    """Stores by group: `pairs` of the data sets, `scenes` of composed ones, `prompts` of class names in templates."""

    pairs: dict[Name, StoreEntry] = {}
    scenes: dict[Name, StoreEntry] = {}
    prompts: dict[Name, StoreEntry] = {}

    def by_name(self) -> dict[str, StoreSpec]:
        """All of them, group by group."""
        groups: tuple[tuple[Group, dict[str, StoreEntry]], ...] = (
            ("pairs", self.pairs),
            ("scenes", self.scenes),
            ("prompts", self.prompts),
        )
        return {
            name: StoreSpec(group=group, **entry.model_dump())
            for group, stores in groups
            for name, entry in stores.items()
        }


def stored_through(stores: Stores, datasets: Iterable[str], views: Sequence[str]) -> tuple[str, ...]:
    """Those of the data sets that are stored through all of the views."""
    stored = {(store.dataset, store.view) for store in stores.pairs.values()}
    return tuple(name for name in datasets if all((name, view) in stored for view in views))


class RayParams(Section):
    """Workers of `engine: ray`.

    `address` is that of a running cluster, as Ray takes it (`auto`, `HOST:6379`); without one RAY_ADDRESS counts, and
    without that too a cluster of this machine alone is started for the time of the stage. A worker has a GPU where the
    cluster has some and `device` allows it, and so many `cpus`: `auto` shares those of a node among its GPUs, and takes
    8 without, or all of the smallest node. A shard whose worker is lost is written again, `max_retries` times.
    """

    address: Annotated[str, Field(min_length=1)] | None = None
    cpus: Annotated[int, Field(ge=1, le=1_024)] | Literal["auto"] = "auto"
    max_retries: Annotated[int, Field(ge=0, le=1_000)] = 5

    @field_validator("address")
    @classmethod
    def _in_the_cluster(cls, address: str | None) -> str | None:
        if address and address.startswith("ray://"):
            raise ValueError(
                "the stage must run on a node of the cluster, not as a client of it: write `auto`, or HOST:PORT as "
                "`ray start` prints it"
            )
        return address


class EncodeParams(Section):
    """How encoding runs. Nothing here changes what a feature means, or its value beyond the stated tolerance.

    `engine` says where: in this process, or in workers of a Ray cluster. Both end in the same bytes, so that neither it
    nor `ray` is written into the settings that DVC compares.

    `auto` for a batch size tries some once and remembers the fastest, for `workers` it takes one per core. Images are
    decoded in `threads`, or in as many `processes`, which take seconds to start; `auto` takes processes on a GPU, for
    data of some thousand images.
    """

    batch_size: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = 16
    text_batch_size: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = 64
    workers: Annotated[int, Field(ge=0, le=1_024)] | Literal["auto"] = "auto"
    decode: Literal["auto", "threads", "processes"] = "auto"
    compile: bool = False
    channels_last: bool = False
    shard_rows: Annotated[int, Field(ge=1, le=2**24)] = 512
    device: str = "auto"
    max_failure_rate: Share = 0.01
    engine: Annotated[Literal["local", "ray"], Field(exclude=True)] = "local"
    ray: Annotated[RayParams, Field(exclude=True)] = RayParams()

    @model_validator(mode="after")
    def _without_effect(self) -> Self:
        if self.engine != "ray":
            self.refuse(["ray"], "it is about `engine: ray`")
        return self
