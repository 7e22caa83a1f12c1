"""How often 95 % intervals hold the true value, by simulation at the sizes of the default.

    python benchmarks/coverage.py        # 2,000 trials of each world; some minutes on one core

A world has 669 concept families, of which each of five repeats tests 20 % (about 450 in all), one to four items each.
The chance of a hit is that of the family, times an effect of the repeat that all of its items share, times one of
family and repeat. Two systems share the difficulty of the families, and each has repeat effects of its own. The
standard deviation of a repeat effect is given in the value of all repeats, in units of the standard error that
families alone would leave. Values, paired differences, ratios and means over 15 unequal classes are known exactly;
counted is how often the interval of `pipeline.statistics.FamilyBootstrap` holds them, with and without the level of
repeats. Prints a table and writes benchmarks/results/coverage.json.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.statistics import FamilyBootstrap  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "coverage.json"
FAMILIES, REPEATS, TESTED, CLASSES, DRAWS = 669, 5, 134, 15, 2000
GAIN = 1.25  # the first system's hits over those of the second


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        name: of the level of the metric.
        easy, hard: chance of a hit in easy and in hard families.
        share: of easy families.
        repeat_effect: in units of the standard error by families.
    """

    name: str
    easy: float
    hard: float
    share: float
    repeat_effect: float

    @property
    def mean(self) -> float:
        """The second system's true value."""
        return self.share * self.easy + (1 - self.share) * self.hard


WORLDS = (
    *(World("R@1", 0.30, 0.025, 0.2, effect) for effect in (0.0, 0.5, 1.0)),
    *(World("R@10", 0.50, 0.20, 0.5, effect) for effect in (0.0, 0.5, 1.0, 2.0)),
)


class Design:
    """Which items each repeat tests: (n,) family, repeat and class of every item; the same in all trials."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        size = rng.integers(1, 5, FAMILIES)
        tested = [np.sort(rng.permutation(FAMILIES)[:TESTED]) for _ in range(REPEATS)]
        self.family = np.concatenate([np.repeat(families, size[families]) for families in tested])
        self.repeat = np.repeat(np.arange(REPEATS), [size[families].sum() for families in tested])
        frequency = 1 / np.arange(1, CLASSES + 1)
        self.class_of = rng.choice(CLASSES, FAMILIES, p=frequency / frequency.sum())[self.family]

    def hits(self, world: World, effect: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Hits (n,) of both systems; `effect` is the standard deviation of a repeat's effect on the rate of hits."""
        rate = np.where(rng.random(FAMILIES) < world.share, world.easy, world.hard)
        systems = []
        for gain in (GAIN, 1.0):
            of_repeat = 1 + effect * rng.standard_normal(REPEATS) / world.mean
            of_both = rng.uniform(0.5, 1.5, (FAMILIES, REPEATS))
            chance = gain * rate[self.family] * of_repeat[self.repeat] * of_both[self.family, self.repeat]
            systems.append((rng.random(len(chance)) < chance).astype(np.float64))
        return systems[0], systems[1]


def coverage(
    world: World, trials: int, seed: int = 0, level: bool = True, draws: int = DRAWS, per_class: bool = True
) -> dict[str, float]:
    """Share of the trials whose 95 % interval holds the true value, by statistic.

    Args:
        level: whether repeats are a level of the bootstrap.
        draws: of the bootstrap.
        per_class: whether means per class are among the statistics; they take most of the time.
    """
    design, rng = Design(), np.random.default_rng(seed)
    families = design.family.astype(str)
    repeat = design.repeat if level else None
    plain = FamilyBootstrap(families, draws, 0, repeat=repeat)
    classes = FamilyBootstrap(families, draws, 0, groups=design.class_of, repeat=repeat) if per_class else None
    pilot = [plain.draws(design.hits(world, 0.0, rng)[1]).std() for _ in range(20)]
    effect = world.repeat_effect * float(np.mean(pilot)) * np.sqrt(REPEATS)
    truth = {
        "value": GAIN * world.mean,
        "difference": (GAIN - 1) * world.mean,
        "ratio": GAIN,
    }
    truth |= {"mean per class": GAIN * world.mean} if per_class else {}
    held = dict.fromkeys(truth, 0)
    for _ in range(trials):
        first, second = design.hits(world, effect, rng)
        one = plain.sample(first)
        compared = plain.compare(one, plain.sample(second))
        intervals = [plain.interval(one), compared.interval, compared.ratio_interval]
        intervals += [classes.interval(first)] if classes else []
        for (name, true), ends in zip(truth.items(), intervals, strict=True):
            held[name] += ends is not None and ends[0] <= true <= ends[1]
    return {name: count / trials for name, count in held.items()}


def main(trials: int = 2000) -> None:
    """Every world, with and without the level of repeats."""
    results = []
    for world in WORLDS:
        for level in (False, True):
            found = coverage(world, trials, level=level)
            results.append({**asdict(world), "families_and_repeats": level, "trials": trials, "coverage": found})
            shown = "  ".join(f"{name} {share:.3f}" for name, share in found.items())
            what = "families and repeats" if level else "families alone"
            sys.stdout.write(f"{world.name:5} repeat effect {world.repeat_effect:.1f}  {what:21} {shown}\n")
            sys.stdout.flush()
    OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
