"""What the model card of an aligner says of sounds, and of other modalities beside pictures and texts."""

from pipeline.alignment import HeadConfig
from pipeline.config.further import FURTHER
from pipeline.config.modalities import many
from pipeline.inference.markdown import cell


def further_introduction(config: HeadConfig, space: HeadConfig | None) -> str:
    """What an aligner of a further modality is.

    Args:
        space: of the aligner that it was added to, if it was.
    """
    joined = " and ".join(many(modality) for modality in config.modalities)
    kept = (
        "The encoders are not part of this folder; they are fetched from their own source and checked against the "
        "fingerprints in `config.json`."
    )
    if "audio" in config.modalities:
        kept += (
            " Sounds are read, brought to the encoder's sample rate and to one channel, and heard in windows as the "
            "fingerprint says. Exports to sentence-transformers and ONNX have no form for that."
        )
    new = " and ".join(many(one) for one in config.modalities if one in FURTHER)
    if space is None:
        return (
            f"{joined.capitalize()} in one space of {config.embed_dim} dimensions: {len(config.encoders)} frozen "
            f"encoders and a head of kind `{cell(config.kind)}` between them, {config.parameters:,} fitted scalars. "
            f"{kept}"
        )
    return (
        f"{new.capitalize()} in the space of aligner `{cell(space.aligner)}`, {config.embed_dim} dimensions of "
        f"{' and '.join(many(modality) for modality in space.modalities)} whose vectors do not move: what was made of "
        f"them stays valid. A head of kind `{cell(config.kind)}` maps {new} alone, {config.parameters:,} fitted "
        f"scalars, fitted to {joined}; the folder `space` holds the other aligner byte for byte. {kept}"
    )


def further_usage(config: HeadConfig, space: HeadConfig | None, name: str, repeat: int) -> str:
    """How an aligner of a further modality is used, as Markdown."""
    option = f", repeat={repeat}" if repeat else ""
    others = {*config.modalities, *(() if space is None else space.modalities)} - {"audio"}
    lines = ["from permafrost import Aligner\n", f"model = Aligner.from_pretrained({name!r}{option})"]
    if "audio" not in config.modalities:
        lines.append(f'hits = model.search("data/features/pairs/{next(iter(config.views.values()))}/...", "a frog")')
        return "```python\n" + "\n".join(lines) + "\n```"
    lines += [
        'sounds = model.encode_audio(["frog.ogg"])  # paths, bytes of files, or (samples, rate)',
    ]
    if "text" in others:
        lines += [
            'print(model.similarity(sounds, model.encode_text(["a frog", "a horn"])))',
            'print(model.classify_audio("frog.ogg", ["frog", "horn"]))',
        ]
    if "image" in others:
        lines.append('print(model.similarity(sounds, model.encode_image("frog.png")))')
    code = "\n".join(lines)
    return f"```python\n{code}\n```"
