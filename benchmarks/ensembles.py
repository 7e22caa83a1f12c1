"""What averaging the scores of aligners brings, and what correcting hubs does, the validation families answering.

    python benchmarks/ensembles.py [--data DIR]      # DIR is the folder `data` of a run; ./data if left out

Needs a run of the default (`make repro`): heads are read, nothing is fitted. Those of each of the five repeats answer
the pairs of the **validation** split of the same repeat; the test split is read nowhere. The scale that `logit` and the
softmaxes take is the one saved with each head: of closed forms it was set on these families, which changes no rank of a
single aligner.

Score: the mean over emoji and stamps of R@1 from image to text and from text to image. Intervals resample concept
families of all repeats together and count the spread between repeats; differences are paired by query.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.accounting.machine import describe_machine
from pipeline.config import Correction, EnsembleSpec, evaluated, load_config
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.evaluation.caption_sets import RetrievalSet
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.ensembles import JoinedAligners
from pipeline.evaluation.hubness import correction
from pipeline.evaluation.metrics import chance_at, first_hit_ranks, hits_at
from pipeline.files import write_json
from pipeline.statistics import FamilyBootstrap

OUT = Path(__file__).parent / "results" / "ensembles.json"
DATASETS, REPEATS, DRAWS, NEIGHBOURS = ("emoji", "stamps"), 5, 5000, 10
SINGLE = ("default", "multilingual", "freeze-align", "control")
ENSEMBLES = {
    f"{' + '.join(of)}, {scores}": EnsembleSpec(of=of, scores=scores)  # type: ignore[arg-type]
    for of in (("default", "multilingual"), ("default", "freeze-align"), ("default", "multilingual", "freeze-align"))
    for scores in ("cosine", "logit")
}
CORRECTIONS = [
    (method, bank) for method in ("csls", "inverted-softmax", "dual-softmax") for bank in ("training", "test")
]
Columns = tuple[np.ndarray, ...]  # hits at 1 by query, and of each query chance, family, group and repeat


def answers(aligner: TrainedAligner, corrected: tuple[str, str] | None) -> Columns:
    """What a row answered on all queries, in one order for all rows."""
    pairs = read_caption_pairs(DATASETS, REPEATS)
    parts = []
    for repeat in range(REPEATS):
        for dataset in DATASETS:
            inside = pairs.where(pairs.dataset == dataset)
            items, training = (RetrievalSet.of(inside.of(repeat, split)) for split in ("validation", "train"))
            bank = training if corrected and corrected[1] == "training" else items
            vectors = {
                side: [
                    aligner.image_vectors(repeat, dataset, one.images)
                    if side == "image"
                    else aligner.text_vectors(repeat, "pairs", dataset, one.texts)
                    for one in (items, bank)
                ]
                for side in ("image", "text")
            }
            for way, side, other in (("i2t", "image", "text"), ("t2i", "text", "image")):
                (queries, seen), candidates = vectors[side], vectors[other][0]
                positives = items.positives if side == "image" else items.positives[:, ::-1]
                rescore = None
                if corrected:
                    method, scale = cast(Correction, corrected[0]), aligner.logit_scale(repeat)
                    rescore = correction(method, seen, candidates, NEIGHBOURS, scale)
                ranks = first_hit_ranks(queries, candidates, positives, rescore)
                families, counts, size = items.side(way)
                group = np.full(len(ranks), f"{dataset} {way}")
                parts.append(
                    (hits_at(ranks, 1), chance_at(counts, size, 1), families, group, np.full(len(ranks), repeat))
                )
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def figures(name: str, corrected: str, one: Columns, base: Columns, versus: str) -> dict[str, Any]:
    """One row of the table, and its difference from another."""
    hits, chance, families, groups, repeat = one
    boot = FamilyBootstrap(families, DRAWS, 0, groups, repeat)
    by_repeat = [
        statistics.fmean(hits[(repeat == r) & (groups == g)].mean() for g in np.unique(groups)) for r in range(REPEATS)
    ]
    compared = boot.compare(hits, base[0])
    return {
        "row": name, "corrected": corrected or None, "recall@1": boot.value(hits), "ci": boot.interval(hits),
        "by_repeat": by_repeat, "chance": boot.value(chance), "versus": versus, "difference": compared.difference,
        "difference_ci": compared.interval, "excludes_zero": compared.excludes_zero, "p": compared.p,
    }  # fmt: skip


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the documentation."""
    lines = ["| scores of | corrected | R@1 (95 %) | against | difference (95 %) |", "|---|---|---|---|---|"]
    for row in rows:
        (low, high), (below, above) = row["ci"], row["difference_ci"]
        own = row["row"] == row["versus"] and not row["corrected"]
        versus = f"{row['versus']} | {row['difference']:+.3f} ({below:+.3f}, {above:+.3f})"
        lines.append(
            f"| {row['row']} | {row['corrected'] or ''} | {row['recall@1']:.3f} ({low:.3f}, {high:.3f}) | "
            f"{' | ' if own else versus} |"
        )
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder data of a run")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the parameters of that run")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    out, params = given.out.absolute(), load_config(given.params.absolute()).params
    os.chdir(given.data.absolute().parent)
    known = evaluated(params)
    aligners = {name: TrainedAligner(name, known[name], REPEATS, torch.device("cpu")) for name in SINGLE}
    joined = {name: JoinedAligners(name, spec, aligners) for name, spec in ENSEMBLES.items()}
    plain = {name: answers(one, None) for name, one in {**aligners, **joined}.items()}
    rows = [figures(name, "", one, plain["default"], "default") for name, one in plain.items()]
    for name in ("default", "freeze-align", "default + multilingual, cosine"):
        one = aligners.get(name) or joined[name]
        for method, bank in CORRECTIONS:
            rows.append(figures(name, f"{method}, {bank} queries", answers(one, (method, bank)), plain[name], name))
    write_json({"machine": describe_machine(), "split": "validation", "rows": rows}, out)
    print(f"{markdown(rows)}\nchance {rows[0]['chance']:.4f}; {out}")


if __name__ == "__main__":
    main()
