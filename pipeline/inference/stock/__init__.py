"""Aligners as models of other libraries: the modules of sentence-transformers alone, and ONNX."""
