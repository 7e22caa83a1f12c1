"""Results of the comparison in words, and as a table for the terminal."""

from typing import Any


def sentences(best: list[dict[str, Any]], control: str, repeats: int) -> list[str]:
    """One sentence per pair of views without the control: does it exceed the control, and is that established?

    Established means that the interval of the difference in mutual-kNN is above zero. CKA has no such interval.
    """
    lines = []
    for entry in best:
        if entry["control"]:
            continue
        knn = entry["best_by_mutual_knn"]
        interval = knn["mutual_knn_difference_ci"]
        if interval is None:
            verdict = "with one concept family there is no interval"
        elif interval[0] > 0:
            verdict = f"above {control}, established"
        elif interval[1] < 0:
            verdict = f"below {control}, established"
        else:
            verdict = f"no established difference from {control}"
        spread = "" if interval is None else f" [{interval[0]:+.4f}, {interval[1]:+.4f}]"
        chance = "above" if knn["mutual_knn_max_p"] <= 0.05 else "not established above"
        lines.append(
            f"{entry['image']} with {entry['text']}: mutual-kNN {knn['mutual_knn']:.4f} (layer {knn['layer']}, "
            f"{knn['pooling']}), {knn['mutual_knn_difference']:+.4f}{spread} against {control}: {verdict}; {chance} "
            f"shuffled captions (p = {knn['mutual_knn_max_p']:.3f}). CKA {entry['cka']:.4f} (layer {entry['layer']}, "
            f"{entry['pooling']}) against {entry['control_cka']:.4f}, higher in {entry['cka_repeats_above_control']} "
            f"of {repeats} repeats."
        )
    return lines


def table(result: dict[str, Any]) -> str:
    """The best layer of each pair of views, one line each; the sentences and what was left out below."""
    head = ["images", "texts", "layer", "pooling", "CKA", "null 95 %", "biased", "mutual-kNN", "null 95 %", "interval"]
    cells = [head]
    for entry in result["best"]:
        knn = entry["best_by_mutual_knn"]
        interval = knn["mutual_knn_ci"]
        cells.append(
            [
                entry["image"] + (" (control)" if entry["control"] else ""),
                entry["text"],
                str(entry["layer"]),
                entry["pooling"],
                f"{entry['cka']:.4f}",
                f"{entry['cka_max_null_q95']:.4f}",
                f"{entry['cka_biased']:.4f}",
                f"{knn['mutual_knn']:.4f}",
                f"{knn['mutual_knn_max_null_q95']:.4f}",
                "-" if interval is None else f"[{interval[0]:.4f}, {interval[1]:.4f}]",
            ]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    samples = f"samples per repeat: {', '.join(map(str, result['samples'])) or 'none'}"
    return "\n".join([*lines, samples, *result["sentences"], *(f"left out: {line}" for line in result["left_out"])])
