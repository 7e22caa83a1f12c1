"""Streamed retrieval by tasks of a Ray cluster, each over some blocks of the pool; the same bytes as on one machine.

Ray is an extra, and this module is imported only where it is asked for. Nodes share the file system that the stores
are on; prototypes go to each node once, what comes back are the candidates of each task.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from pipeline.config.stores import RayParams
from pipeline.curation.retrieval import Candidates
from pipeline.curation.streamed import block_rows, merged, retrieve_streamed
from pipeline.curation.vectors import Block, PoolVectors
from pipeline.encoding.ray_cluster import Cluster, first_of, unwrapped
from pipeline.encoding.ray_worker import Home
from pipeline.errors import StoreError
from pipeline.work_folder import work_folder

_POLL = 0.5  # seconds
_TASKS = 4  # for each worker that fits, so that a slow node does not hold the others up


def retrieve_on_ray(pool: PoolVectors, prototypes: np.ndarray, k: int, params: RayParams, device: str) -> Candidates:
    """As `retrieve_streamed`, in tasks; one that is lost with its node is done again elsewhere.

    Raises:
        ConfigError: there is no Ray or no cluster, or a node lacks the project.
        StoreError: a task is lost again and again.
    """
    import ray  # after ray_cluster, which says what to install where it is missing

    cluster = Cluster(params, device)
    try:
        there = "cuda" if cluster.gpus else "cpu"
        parts = _dealt(pool.blocks(block_rows(len(prototypes), there)), _TASKS * max(1, cluster.room()))
        shared = ray.put((pool, prototypes))
        options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_retries": params.max_retries}
        task = ray.remote(_task).options(**options)
        home = Home.here(work_folder())
        waiting = [task.remote(shared, k, part, home, there, cluster.cpus) for part in parts]
        best: list[Candidates] = []
        while waiting:
            if (done := first_of(waiting, _POLL)) is None:
                continue
            waiting.remove(done)
            best = [merged([*best, _result(done)], k)]
        return best[0] if best else retrieve_streamed(pool, prototypes, k, blocks=())
    finally:
        cluster.close()


def _dealt(blocks: Sequence[Block], tasks: int) -> list[list[Block]]:
    """Blocks that follow one another, about as many for each task."""
    edges = np.linspace(0, len(blocks), min(tasks, len(blocks)) + 1).astype(int).tolist()
    return [list(blocks[start:stop]) for start, stop in pairwise(edges)]


def _task(
    shared: tuple[PoolVectors, np.ndarray], k: int, blocks: list[Block], home: Home, device: str, threads: int
) -> Candidates:
    home.enter()
    torch.set_num_threads(threads)
    pool, prototypes = shared
    return retrieve_streamed(pool, prototypes, k, device=device, blocks=blocks)


def _result(reference: Any) -> Candidates:
    import ray

    try:
        found: Candidates = unwrapped(reference)
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())[-500:]
        raise StoreError(
            f"engine: ray: a task of the retrieval was lost more often than ray.max_retries allows. Ray says: {said}"
        ) from error
    return found
