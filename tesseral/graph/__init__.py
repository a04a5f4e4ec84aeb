"""Structures as graphs.

======================== ==================================================================
``graph``                :class:`Graph`, a frozen dataclass of tensors
``neighbors``            periodic neighbour lists: :func:`build_graph`, :class:`SkinNeighborList`, :func:`prune`
``batch``                many graphs as one and back: :func:`collate`, :func:`split`
======================== ==================================================================
"""

from tesseral.graph.batch import collate, split
from tesseral.graph.graph import Graph
from tesseral.graph.neighbors import SkinNeighborList, build_graph, find_neighbors, prune

__all__ = ["Graph", "SkinNeighborList", "build_graph", "collate", "find_neighbors", "prune", "split"]
