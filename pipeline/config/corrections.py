"""Hubness correction at test time: candidates that are near to every query are marked down."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Once, Positive
from pipeline.config.task_params import RetrievalParams

Correction = Literal["csls", "inverted-softmax", "dual-softmax"]
Bank = Literal["training", "test"]


class CorrectedRetrievalParams(RetrievalParams):
    """Retrieval by corrected scores, apart from that by plain ones.

    `methods` say how a candidate is marked down that many queries are near to; `queries` which ones: those of the
    training families, or of the test itself, all at once (transductive). `neighbours` is of csls.
    """

    methods: Annotated[tuple[Correction, ...], Field(min_length=1), Once] = ("csls", "inverted-softmax", "dual-softmax")
    queries: Annotated[tuple[Bank, ...], Field(min_length=1), Once] = ("training", "test")
    neighbours: Positive = 10
