"""The tables of docs/why_cka.md out of the result of `dvc repro predictors@full`, in Markdown.

python benchmarks/why_cka.py data/predictors/full/predictors.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

PREDICTORS = {
    "probe_recall@10": "probe (CCA alone, validation families)",
    "cka": "CKA, unbiased",
    "cka_biased": "CKA, biased, as the paper's script",
    "rbf_cka": "RBF CKA",
    "cknna": "CKNNA",
    "mutual_knn": "mutual-kNN",
    "unimodal": "unimodal scores of both sides",
    "text_similarity": "texts: sentence similarity",
    "text_search": "texts: semantic search",
    "text_translation": "texts: search across languages",
    "text_parameters": "texts: parameters",
    "text_width": "texts: width",
    "image_knn": "images: k-NN",
    "image_linear": "images: linear probe",
    "image_parameters": "images: parameters",
    "image_width": "images: width",
}
HEAD = ("predictor", "real encoders", "p", "lost by its choice", "with the controls", "p", "size and width taken out")
SCOPES = {"texts": "Over text encoders", "images": "Over image encoders", "pairs": "Over all pairs"}


def span(value: float | None, ends: list[float] | None, signed: bool = True) -> str:
    """A value with its interval."""
    if value is None:
        return "-"
    form = "+.2f" if signed else ".3f"
    return f"{value:{form}}" + (f" [{ends[0]:{form}}, {ends[1]:{form}}]" if ends else "")


def line(name: str, real: dict[str, Any] | None, every: dict[str, Any] | None) -> str:
    """A predictor on real encoders, and with the controls."""

    def p(row: dict[str, Any] | None) -> str:
        return "-" if row is None or row.get("p") is None else f"{row['p']:.3f}"

    cells = [name]
    for row in (real, every):
        cells += [span(row["spearman"], row["ci"]) if row else "-", p(row)]
        if row is real:
            cells.append(span(row["regret"], row.get("regret_ci"), False) if row else "-")
    cells.append(f"{every['partial']:+.2f}" if every and every.get("partial") is not None else "-")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print every scope, and the figures behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    result = json.loads(parser.parse_args().file.read_text(encoding="utf-8"))
    found = {(row["points"], row["scope"], row["predictor"]): row for row in result["correlations"]}
    real = next(points for points, _, _ in found if points != "all")
    for scope, title in SCOPES.items():
        print(f"\n{title}\n\n| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
        for key, name in PREDICTORS.items():
            pair = found.get((real, scope, key)), found.get(("all", scope, key))
            if any(pair):
                print(line(name, *pair))
        lost = found.get((real, scope, "cka"), {}).get("regret_chance")
        print(f"\nA random choice loses {lost:.3f}.")
    for row in result["correlations"]:
        if row["scope"] not in SCOPES:
            what = f"{row['scope']} of {row['image']}, {row['points']}, {row['predictor']}"
            print(f"{what}: {span(row['spearman'], row['ci'])}, p {row['p']}")
    images, texts = result["params"]["images"], result["params"]["texts"]
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for point in result["points"]:
        key = point["image"], point["text"]
        if key not in last or point["layer"] > last[key]["layer"]:
            last[key] = point
    print("\n| recall@10 / CKA / mutual-kNN | " + " | ".join(texts) + " |\n|" + "---|" * (len(texts) + 1))
    for image in images:
        row = [last[image, text] for text in texts]
        cells = [f"{one['aligned_recall@10']:.3f} / {one['cka']:.3f} / {one['mutual_knn']:.3f}" for one in row]
        print(f"| {image} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
