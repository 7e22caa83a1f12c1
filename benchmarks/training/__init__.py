"""The parts of benchmarks/train.py, one module each."""
