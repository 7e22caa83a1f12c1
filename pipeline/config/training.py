"""`train`: how heads are fitted to cached features, and what one head may change of it."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, create_model, model_validator

from pipeline.config.base import Batch, Name, NonNegativeFloat, Section, Seed, Steps

LearningRate = Annotated[float, Field(gt=0, le=1_000)]
Temperature = Annotated[float, Field(gt=0, le=1_000)]


class LoadingParams(Section):
    """Where features are while a head is fitted, trained or computed.

    `features`: on the device, in host memory, or streamed from the store; auto goes by what is free. Streamed pairs
    are read in blocks of `shuffle_block`, and mixed in windows that take `shuffle_buffer_mb`.
    """

    device: str = "auto"
    features: Literal["auto", "device", "host", "stream"] = "auto"
    shuffle_block: Batch = 128
    shuffle_buffer_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 256

    def changed(self, changes: "Section") -> Self:
        """These parameters with the keys that `changes` sets.

        Raises:
            pydantic.ValidationError: the values do not go together.
        """
        kept = {key: value for key, value in changes.model_dump().items() if key in changes.model_fields_set}
        return type(self).model_validate({**self.model_dump(), **kept})


class MemberParams(Section):
    """What one member of a training of many has for itself; what is left out is as in `train`.

    `seed` is added to the seed of params.yaml for initialisation and dropout; splits and batches are shared.
    """

    lr: LearningRate | None = None
    weight_decay: NonNegativeFloat | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    temperature: Temperature | None = None
    seed: Seed = 0


class TrainParams(LoadingParams):
    """Optimisation of trained heads on cached features.

    Training takes `epochs`, and more of them where these have fewer than `min_steps` steps. The warm-up is cut to a
    tenth of all steps. Every `validate_every` steps (0: at the end of each epoch) the heads are evaluated on the
    validation split; after `patience` validations without a better one, counted from `min_steps` on, training ends (0:
    never early). `ema` is the decay of an average of the weights, which is then what is validated and kept (0: none).
    `members` train side by side on the same batches; `member` names the one to keep, or is best: in each repeat on its
    own validation split. Every `checkpoint_seconds` all is saved so that a killed run can go on from there (0: not).
    """

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 30
    min_steps: Steps = 300
    batch_size: Annotated[int, Field(ge=2, le=2**20)] = 1024
    lr: LearningRate = 1e-3
    min_lr: Annotated[float, Field(ge=0, le=1_000)] = 1e-5
    warmup_steps: Steps = 20
    weight_decay: NonNegativeFloat = 0.02
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    temperature: Temperature = 0.07
    grad_clip: NonNegativeFloat = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    step: Literal["eager", "compiled", "captured"] = "eager"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    validate_every: Steps = 0
    patience: Steps = 0
    checkpoint_seconds: NonNegativeFloat = 60.0
    members: dict[Name, MemberParams] = {}
    member: Name = "best"

    @model_validator(mode="after")
    def _rates(self) -> "TrainParams":
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}; the cosine goes from lr down to min_lr")
        for name, member in self.members.items():
            if member.lr is not None and self.min_lr > member.lr:
                raise ValueError(f"min_lr {self.min_lr:g} is above lr {member.lr:g} of member {name!r}")
        return self

    @model_validator(mode="after")
    def _named(self) -> "TrainParams":
        if "best" in self.members:
            raise ValueError("no member may be called best: `member: best` keeps the best on validation")
        if self.member != "best" and self.member not in self.members:
            known = ", ".join(self.members) or "none"
            raise ValueError(f"member is {self.member!r}; write best or one of members ({known})")
        return self


def _changes(name: str, params: type[Section]) -> Any:
    """A model with the keys of `params`, none of which need be written."""
    fields: dict[str, Any] = {
        key: (field.rebuild_annotation() | None, None) for key, field in params.model_fields.items()
    }
    return create_model(name, __base__=Section, __doc__=f"Keys of {params.__name__} that one head changes.", **fields)


if TYPE_CHECKING:

    class LoadingChanges(Section):
        """Keys of LoadingParams that one head changes."""

    class TrainChanges(Section):
        """Keys of TrainParams that one head changes."""

else:
    LoadingChanges = _changes("LoadingChanges", LoadingParams)
    TrainChanges = _changes("TrainChanges", TrainParams)
