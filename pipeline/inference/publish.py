"""Saving an aligner to a folder, and to a repository of the Hugging Face hub.

`huggingface_hub.ModelHubMixin` is not inherited: its `__new__` keeps a second configuration made of the constructor's
arguments, its `save_pretrained` deletes config.json, the mark of a whole aligner, before weights are written, and its
`from_pretrained` fetches and reads config.json before the checks of this project. Its functions are used instead.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.alignment import HeadConfig
from pipeline.alignment.fit import METRICS_FILE
from pipeline.alignment.saved import CONFIG_FILE
from pipeline.errors import DataError, ModelError
from pipeline.inference.card import card_text, run_of
from pipeline.inference.folder import aligner_folder
from pipeline.inference.habits import Habits
from pipeline.inference.options import log
from pipeline.inference.towers import card_with_towers, copy_heads, joined_towers, write_towers
from pipeline.user_path import user_path

CARD_FILE = "README.md"


class Publish(Habits):
    """`save_pretrained` and `push_to_hub`."""

    config: HeadConfig
    repeat: int
    _folder: Path | None

    @property
    def folder(self) -> Path:
        """Where it was loaded from.

        Raises:
            ModelError: it is no longer there.
        """
        return self._source()

    def save_pretrained(
        self,
        path: str | Path,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: None = None,
        safe_serialization: bool = True,
        *,
        text: "Mapping[str, Publish | str | Path] | None" = None,
        own_image_heads: bool = False,
    ) -> None:
        """Write the aligner to a folder that `from_pretrained` and the hub take: configuration, heads, card.

        All repeats go along, byte for byte. The encoders stay out: whoever loads the folder gets them from their own
        source, and one that was a local folder must be passed as `checkpoints=`.

        Args:
            path: a new or empty folder, or one that an aligner was saved to before.
            model_name: what the card says to load; the name of the folder where None.
            create_model_card: whether to write README.md; one that the source folder has goes along where there is no
                run behind it to write another.
            train_datasets: None; the run has recorded them.
            safe_serialization: true; nothing else is written.
            text: further text towers by name, each an aligner, its folder or its hub name; `from_pretrained(path,
                text=NAME)` loads one. They must make the same vectors of pictures as this aligner, bit by bit, so that
                those that are there stay valid whichever is chosen.
            own_image_heads: whether towers may join whose vectors of pictures are other ones, on the same image view.

        Raises:
            DataError: `train_datasets` or `safe_serialization` has another value; a tower's name is none.
            FingerprintMismatch: a tower makes other vectors of pictures, or is of another image view.
            ModelError: the folder holds something else, or the one the aligner came from is gone.
        """
        self._require_stock(train_datasets, safe_serialization)
        out, source = user_path(path, "the folder to save to", ModelError), self._source()
        if out.is_dir() and any(out.iterdir()) and not (out / CONFIG_FILE).is_file():
            raise ModelError(f"{out} holds something that is no aligner; choose an empty or a new folder.")
        if out.resolve() == source.resolve():
            raise ModelError(f"{out} is the folder that the aligner was loaded from; choose another one.")
        others = {name: _folder_of(tower) for name, tower in (text or {}).items()}
        towers = joined_towers(source, others, own_image_heads)
        for side, fingerprint in self.config.encoders:
            if fingerprint["described"].get("source") == "local":
                modality = self.config.modality(side)
                log.warning("the %s encoder is a local folder; who loads %s needs it as checkpoints=", modality, out)
        (out / CONFIG_FILE).unlink(missing_ok=True)  # until everything else is there
        copy_heads(source, out)
        if (source / METRICS_FILE).is_file():
            shutil.copyfile(source / METRICS_FILE, out / METRICS_FILE)
        write_towers(towers, out)
        if create_model_card:
            card = card_with_towers(self._card(source, model_name or out.resolve().name), towers)
            (out / CARD_FILE).write_text(card, encoding="utf-8")
        shutil.copyfile(source / CONFIG_FILE, out / CONFIG_FILE)

    save = save_pretrained

    def push_to_hub(
        self,
        repo_id: str,
        token: str | None = None,
        private: bool | None = None,
        safe_serialization: bool = True,
        commit_message: str | None = None,
        local_model_path: None = None,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        train_datasets: None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Upload what `save_pretrained` writes to a repository of the hub, which is made if need be.

        Args:
            repo_id: owner/name, or the name alone for the owner of the token.
            token: None for the one that `hf auth login` keeps.
            private: whether a new repository is; None for what its owner's settings say.
            safe_serialization, train_datasets: as for `save_pretrained`.
            commit_message: "Add aligner NAME" where None.
            local_model_path: None; for a folder as it is, use `huggingface_hub.upload_folder`.
            exist_ok: whether the repository may exist.
            replace_model_card: whether a card that it has is replaced.
            revision: branch, made if need be.
            create_pr: open a pull request in place of a commit.

        Returns:
            the address of the commit or of the pull request.

        Raises:
            DataError: as `save_pretrained`, or `local_model_path` is given.
            ModelError: the hub cannot be reached or refuses.
        """
        self._require_stock(train_datasets, safe_serialization)
        if local_model_path is not None:
            raise DataError("local_model_path: to upload a folder as it is, use huggingface_hub.upload_folder.")
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, HTTPError

        api = HfApi(token=token)
        try:
            name = api.create_repo(repo_id, private=private, exist_ok=exist_ok or create_pr).repo_id
            if revision is not None and not create_pr:
                api.create_branch(name, branch=revision, exist_ok=True)
            card = replace_model_card or not api.file_exists(name, CARD_FILE, revision=revision)
            with tempfile.TemporaryDirectory() as folder:
                self.save_pretrained(folder, model_name=name, create_model_card=card)
                message = commit_message or f"Add aligner {self.config.aligner}"
                done = api.upload_folder(
                    repo_id=name, folder_path=folder, commit_message=message, revision=revision, create_pr=create_pr
                )
        except (OSError, HTTPError, HFValidationError, ValueError) as error:
            raise ModelError(
                f"{repo_id} could not be uploaded to the Hugging Face hub: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}. Check the name, the network and the token (`hf auth login`); "
                "for a repository that exists, pass exist_ok=True."
            ) from error
        return str((done.pr_url if create_pr else None) or done.commit_url)

    def _card(self, source: Path, name: str, library: str = "permafrost") -> str:
        kept = source / CARD_FILE
        if library == "permafrost" and kept.is_file() and run_of(source) is None and not self.model_card_data.metrics:
            return kept.read_text(encoding="utf-8")
        return card_text(self.config, source, name, self.repeat, self.model_card_data.metrics, library)

    def _source(self) -> Path:
        if self._folder is None or not (self._folder / CONFIG_FILE).is_file():
            raise ModelError(f"The folder that this aligner was loaded from is gone: {self._folder}. Load it again.")
        return self._folder

    @staticmethod
    def _require_stock(train_datasets: Any, safe_serialization: bool) -> None:
        if train_datasets is not None:
            raise DataError("train_datasets: the run has recorded what the heads were fitted to; leave it out.")
        if not safe_serialization:
            raise DataError("safe_serialization=False: heads are written as safetensors and as nothing else.")


def _folder_of(tower: "Publish | str | Path") -> Path:
    return tower.folder if isinstance(tower, Publish) else aligner_folder(tower)
