"""Pictures with label maps: the layouts of PASCAL VOC, PASCAL Context and ADE20K, windows, and reading the index."""

from pipeline.datasets.segmentation.build import index_segmentation
from pipeline.datasets.segmentation.read import BACKGROUND, VOID, LabelledPicture, SegmentationSet

__all__ = ["BACKGROUND", "VOID", "LabelledPicture", "SegmentationSet", "index_segmentation"]
