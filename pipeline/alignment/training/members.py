"""The members of a training of many: configurations that share splits and batches and differ in the rest."""

from dataclasses import dataclass

from pipeline.config import TrainParams

ALONE = ""  # the name of the only member where none are named


@dataclass(frozen=True)
class Member:
    """One configuration in one repeat.

    Attributes:
        name: as in `train.members`; "" for a training of one.
        seed: of its initialisation; with the others' also of its dropout.
        params: `train` with what the member has for itself.
    """

    name: str
    seed: int
    params: TrainParams


def members_of(params: TrainParams, seed: int, repeats: int, repeat: int) -> tuple[Member, ...]:
    """The members of `params` in one repeat; one without a name where none are named.

    A member of seed k is initialised as repeat `repeat` of the same training with `seed: seed + k` would be.
    """
    if not params.members:
        return (Member(ALONE, seed * repeats + repeat, params),)
    members = []
    for name, own in params.members.items():
        changes = {key: value for key, value in own.model_dump(exclude={"seed"}).items() if value is not None}
        merged = params.model_copy(update={**changes, "members": {}, "member": "best"})
        members.append(Member(name, (seed + own.seed) * repeats + repeat, merged))
    return tuple(members)
