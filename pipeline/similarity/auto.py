"""The views of an aligner under `auto`: written by the stage `compare`, read where the head is fitted.

`choice.json` holds the order of pairs and the fingerprints of the views that were compared, and no figure, so that a
head is fitted again when the order or the features change and not when a figure does.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import AUTO, FitSpec
from pipeline.errors import DataError, FingerprintMismatch
from pipeline.features.views import open_view
from pipeline.paths import COMPARE

CHOICE_FILE = "choice.json"


def order_of(choice: dict[str, Any] | None, digests: Mapping[str, str]) -> dict[str, Any]:
    """What `choice.json` holds.

    Args:
        choice: as `choose` gives it.
        digests: of the fingerprint of each view.
    """
    ranking = [] if choice is None else choice["ranking"]
    return {
        "by": None if choice is None else choice["by"],
        "order": [{"image": entry["image"], "text": entry["text"]} for entry in ranking],
        "fingerprints": dict(sorted(digests.items())),
    }


def with_chosen_views(name: str, fit: FitSpec, folder: Path = COMPARE) -> tuple[FitSpec, dict[str, Any] | None]:
    """The entry with the best pair of its comparison in place of `auto`.

    Args:
        name: of the aligner.
        fit: what fitting it reads; without `compare` it is returned as it is.
        folder: where comparisons lie.

    Returns:
        The entry, and what to record of the choice: the comparison, what it ranked by, the rank of the pair (above 1
        where one side was given) and how many pairs it ranked.

    Raises:
        DataError: the comparison was not made, or could not rank its pairs.
        StoreError: a store of the chosen views is missing.
        FingerprintMismatch: the stores hold other features than those compared.
    """
    if fit.compare is None:
        return fit, None
    path = folder / fit.compare / CHOICE_FILE
    again = f"Make it with: dvc repro compare@{fit.compare}"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        order, fingerprints, by = found["order"], found["fingerprints"], found["by"]
    except FileNotFoundError:
        raise DataError(f"Aligner {name!r} takes its views from {path}, which is missing. {again}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not the choice of a comparison ({type(error).__name__}: {error}). {again}"
        ) from None
    places = [
        place
        for place, pair in enumerate(order)
        if all(given in (AUTO, pair[side]) for side, given in (("image", fit.image), ("text", fit.text)))
    ]
    if not places:
        raise DataError(
            f"Aligner {name!r} takes its views from {path}, which ranks no pair for it: the comparison had too few "
            "samples that no repeat tests (its log says how many). Lower splits.repeats, add data, or name the views "
            f"under `aligners` in params.yaml."
        )
    pair = order[places[0]]
    for view in pair.values():
        for dataset, store in open_view(view, fit.datasets).items():
            if store.digest != fingerprints[view]:
                raise FingerprintMismatch(
                    f"Comparison {fit.compare!r} chose view {view!r} by features {fingerprints[view][:12]}; its store "
                    f"of {dataset!r} holds {store.digest[:12]}. {again}"
                )
    chosen = {"compare": fit.compare, "by": by, "rank": places[0] + 1, "of": len(order)}
    digests = {side: fingerprints[view] for side, view in pair.items()}
    return fit.model_copy(update=pair), chosen | {"fingerprints": digests}
