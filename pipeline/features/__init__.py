"""The feature store: fingerprints, layout, shards, publishing and reading. It imports no model."""

from pipeline.features.array import FeatureArray
from pipeline.features.fingerprint import Fingerprint
from pipeline.features.layout import ArraySpec
from pipeline.features.reader import FeatureStore

__all__ = ["ArraySpec", "FeatureArray", "FeatureStore", "Fingerprint"]
