"""Records of the experimental products."""

import builtins
from typing import NamedTuple


class Chunk(NamedTuple):
    """A block: multiplicity, dimension, place."""

    mul: int
    dim: int
    slice: builtins.slice | None = None


class Path(NamedTuple):
    """A path: the blocks that it joins."""

    input_1_slice: Chunk
    input_2_slice: Chunk
    output_slice: Chunk
