"""The parts of benchmarks/recipes.py: rows, features in one file, fitting, tables."""
