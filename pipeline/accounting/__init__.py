"""What the models cost, in parameters, samples, seconds and bytes, and the poster's ratios from their inputs."""

from pipeline.accounting.run import account

__all__ = ["account"]
