"""From a recorded fingerprint back to its encoder and view."""

from typing import Any

from pydantic import ValidationError

from pipeline.config import VIEWS, AnyView, EncoderSpec
from pipeline.errors import ModelError


def recorded_specs(
    fingerprint: dict[str, Any], where: str, trust_remote_code: bool = False
) -> tuple[EncoderSpec, AnyView]:
    """The encoder and the view whose features have this fingerprint.

    A hub model is requested at the commit that was used. Whether its code may run is not recorded; the caller says.

    Args:
        fingerprint: as `Fingerprint.as_dict` gives it.
        where: whose fingerprint it is, for the message.

    Raises:
        ModelError: a field is missing or of a kind that this version does not know.
    """
    try:
        compared, described = fingerprint["compared"], fingerprint["described"]
        text = compared["modality"] == "text"
        encoder = EncoderSpec(
            modality=compared["modality"],
            source=described["source"],
            model=described["model"],
            loader=compared["loader"],
            revision=described["revision"] if described["source"] == "hub" else None,
            pooling=compared["pooling"],
            layers=(-1,) if text else tuple(compared["layers"]),
            prefix=compared["prefix"] if text else "",
            prompt=compared.get("prompt"),
            autocast=compared.get("autocast"),
            dtype=compared["compute_dtype"],
            trust_remote_code=trust_remote_code,
        )
        return encoder, VIEWS[compared["modality"]].from_compared(compared)
    except (KeyError, TypeError, ValidationError) as error:
        raise ModelError(
            f"The fingerprint recorded for {where} does not describe an encoder ({type(error).__name__}: {error}). "
            "Fit the aligner again with: dvc repro"
        ) from error
