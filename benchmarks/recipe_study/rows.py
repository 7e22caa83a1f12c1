"""Every row of the tables, and the trials that each gets."""

from typing import Any

BASELINE, DEFAULT = "Freeze-Align", "default"
CHOSEN = "default, values chosen per repeat"
CONTROLS = {
    DEFAULT: "control: default on random image weights",
    BASELINE: "control: Freeze-Align on random image weights",
}
PROMPTED = "minilm-prompts"
WHITENED = {"whitening": {"sides": "text", "shrink": 1.0}}
ALL = "whitened texts and prompts"
PREPARED: dict[str, dict[str, Any]] = {
    "whitened texts": WHITENED,
    "prompts": {"text": PROMPTED},
    ALL: {**WHITENED, "text": PROMPTED},
}

# a trained recipe is tried with every rate, temperature and length: 24 trials
RATES = (3.0e-4, 1.0e-3, 3.0e-3, 1.0e-2)
TEMPERATURES = (0.03, 0.1)
BATCH = 512
# steps of the schedule; the longest ends early, after 20 validations without a better one past step 300
LENGTHS: dict[int, dict[str, int]] = {
    75: {"min_steps": 0, "patience": 0},
    300: {"min_steps": 300, "patience": 0},
    600: {"min_steps": 300, "patience": 20},
}
# a computed one with every combination of values: 24 trials where it has a value at all
SHRINKS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
PENALTIES = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
SPREADS = [0.5, 1.0, 2.0]

# CLS + mean and not both in a row, or the eightfold hidden width would take most of the time of this benchmark
GATED = {"kind": "gated-unit", "local_tokens": "mean", "image_input": "sum"}
TRAINED: dict[str, dict[str, Any]] = {
    BASELINE: {"kind": "freeze-align"},
    "linear + InfoNCE": {"kind": "linear", "local_tokens": "mean"},
    "linear from CCA + InfoNCE": {"kind": "linear", "local_tokens": "mean", "init": "cca"},
    "SAIL": {**GATED, "loss": {"kind": "sigmoid", "positives": "own"}},
    "SAIL, multi-positive": {**GATED, "loss": {"kind": "sigmoid"}},
    "FuseMix": {
        "kind": "inverted-bottleneck", "local_tokens": "none", "image_input": "cls", "embed_dim": 512,
        "loss": {"kind": "info-nce", "mixup": 1.0}, "train": {"dropout": 0.6, "weight_decay": 0.1},
    },
    "STRUCTURE": {
        "kind": "gated-low-rank", "local_tokens": "mean", "embed_dim": 256,
        "loss": {"kind": "info-nce", "structure": {"weight": 10.0, "temperature": 0.05}},
    },
}  # fmt: skip
CLOSED: dict[str, dict[str, Any]] = {
    "ASIF": {"kind": "asif", "neighbours": [25, 50, 100, 200, 400, 800], "exponent": [2.0, 4.0, 8.0, 16.0]},
    "Procrustes": {"kind": "procrustes"},
    "ridge": {"kind": "ridge", "ridge": [float(f"{0.003 * 1.5**step:.2g}") for step in range(24)]},
    "CCA": {"kind": "cca", "shrink": SHRINKS, "power": [0.5, 1.0, 2.0]},
    "kernel ridge": {"kind": "kernel-ridge", "ridge": PENALTIES, "bandwidth": SPREADS},
}  # fmt: skip
GRID = [(shrink, ridge) for shrink in (0.3, 1.0, 3.0, 10.0) for ridge in (0.1, 0.3, 1.0, 3.0)]


def recipes(default: dict[str, Any], development: bool) -> dict[str, dict[str, Any]]:
    """Every row by name: views and head, as in params.yaml but with every kind written out.

    Args:
        default: `views` and `head` of the aligner `default`.
        development: the candidates among which the default is chosen, not the recipes that are compared on the test.
    """
    rows: dict[str, dict[str, Any]] = {DEFAULT: default}
    forms = default["head"]["forms"]
    listed = {name: {**form, **_lists(form["kind"])} for name, form in forms.items()}
    rows[CHOSEN] = changed(default, forms=listed)
    rows[BASELINE] = {**default, "head": TRAINED[BASELINE]}
    for name, form in CLOSED.items():
        rows[name] = {**default, "head": {"kind": "closed-form", "local_tokens": "mean", "forms": {form["kind"]: form}}}
    if development:
        rows |= _candidates(default)
        for size in (256, 1024):
            rows[f"{BASELINE} in batches of {size}"] = changed(rows[BASELINE], train={"batch_size": size})
        names: tuple[str, ...] = (DEFAULT, BASELINE)
    else:
        rows |= {name: {**default, "head": head} for name, head in TRAINED.items()}
        rows |= {control: changed(rows[name], image="control") for name, control in CONTROLS.items()}
        names = (DEFAULT, CHOSEN, BASELINE, *CLOSED)
    for what, keys in PREPARED.items():
        for name in names if what == ALL else (DEFAULT, BASELINE):
            own = {key: value for key, value in keys.items() if key != "whitening" or not whitens(rows[name])}
            rows[f"{name}, {what}"] = changed(rows[name], **own)
    return rows


def _candidates(default: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Other values of the default, one thing taken away, one thing added."""
    rows, forms = {}, default["head"]["forms"]
    for shrink, ridge in GRID:
        values = {"cca": {"shrink": shrink}, "kernel-ridge": {"ridge": ridge}}
        found = {name: {**form, **values.get(form["kind"], {})} for name, form in forms.items()}
        rows[f"{DEFAULT} with shrink {shrink:g}, ridge {ridge:g}"] = changed(default, forms=found)
    for form in forms:
        rest = {name: dict(other) for name, other in forms.items() if name != form}
        if len(rest) == 1:
            next(iter(rest.values())).pop("weight", None)
        rows[f"{DEFAULT} without {form}"] = changed(default, forms=rest)
    turned = {"kind": "kernel-ridge", "direction": "text-to-image"}
    rows[f"{DEFAULT} and kernel ridge from texts to images"] = changed(default, forms={**forms, "turned": turned})
    streamed = {
        name: {**form, "features": "fourier"} if form["kind"] == "kernel-ridge" else form
        for name, form in forms.items()
    }
    rows[f"{DEFAULT} with random Fourier features"] = changed(default, forms=streamed)
    rows[f"{DEFAULT} on two layers"] = changed(default, layers=2)
    rows[f"{DEFAULT} on CLS alone"] = changed(default, image_input="cls")
    return rows


def _lists(kind: str) -> dict[str, list[float]]:
    """The values among which a form of the default chooses."""
    if kind == "cca":
        return {"shrink": SHRINKS, "power": [0.5, 1.0, 2.0]}
    return {"ridge": PENALTIES, "bandwidth": SPREADS}


def changed(row: dict[str, Any], image: str | None = None, text: str | None = None, **head: Any) -> dict[str, Any]:
    """The same row with other views, or other keys of its head."""
    views = [image or row["views"][0], text or row["views"][1]]
    return {**row, "views": views, "head": {**row["head"], **head}}


def whitens(row: dict[str, Any]) -> bool:
    """Whether every form of a head whitens by itself, so that `whitening` would have no effect."""
    forms = row["head"].get("forms", {})
    return bool(forms) and all(form["kind"] == "cca" for form in forms.values())
