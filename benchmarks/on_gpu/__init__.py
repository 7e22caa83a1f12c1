"""The parts of benchmarks/gpu.py: each a function of a device, whether sizes are toys, and where figures are kept."""
