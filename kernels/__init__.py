"""The typed loops behind the selection methods: checked here, computed in Cython, repeated slowly in `reference`.

Every function gives the same bits for any number of threads. `on_progress(done, total)` is called between slices of
some ten milliseconds, with the GIL held; whatever it raises ends the work, which is how a job is cancelled.
"""

from kernels.checks import KernelError, check_vectors
from kernels.covers import BudgetCurve, LowerBound, budget_curve, cover, insertion_distances, lower_bound
from kernels.farthest import Coreset, CoresetRun, Picked, central, coreset, coreset_run, coreset_with_cover, pick_among
from kernels.graphs import (
    NeighborGraph,
    PathCoreset,
    adjacency,
    geodesic_coreset,
    knn,
    nearest_of,
    neighbor_graph,
    path_adjacency,
)
from kernels.threads import effective_threads

__all__ = [
    "BudgetCurve",
    "Coreset",
    "CoresetRun",
    "KernelError",
    "LowerBound",
    "NeighborGraph",
    "PathCoreset",
    "Picked",
    "adjacency",
    "budget_curve",
    "central",
    "check_vectors",
    "coreset",
    "coreset_run",
    "coreset_with_cover",
    "cover",
    "effective_threads",
    "geodesic_coreset",
    "insertion_distances",
    "knn",
    "lower_bound",
    "nearest_of",
    "neighbor_graph",
    "path_adjacency",
    "pick_among",
]
