"""From atomic numbers to features."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tesseral.o3 import Irreps


class SpeciesEmbedding(nn.Module):
    """A learned vector of invariants for each known species; layout-free, ``irreps_out`` is ``channels x 0e``.

    ``species`` are the atomic numbers the model knows; row i of ``weight`` belongs to ``species[i]``. Weights start standard
    normal. Raises ``ValueError`` for repeated or impossible atomic numbers, and in a call for an atom of a species it does not
    know; in compiled code, which cannot raise, such an atom gets NaN.

    >>> embedding = SpeciesEmbedding([1, 6, 8], channels=4)
    >>> embedding
    SpeciesEmbedding(species (1, 6, 8) -> 4x0e)
    >>> embedding(torch.tensor([8, 1])).shape, embedding.index(torch.tensor([8, 1]))
    (torch.Size([2, 4]), tensor([2, 0]))
    >>> embedding(torch.tensor([8, 79]))
    Traceback (most recent call last):
    ValueError: species 79 (Au) is unknown to this model, which was built for H, C, O
    """

    table: Tensor

    def __init__(
        self,
        species: Sequence[int],
        channels: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.species = tuple(int(z) for z in species)
        if not self.species or len(set(self.species)) != len(self.species) or not all(0 <= z < TABLE_SIZE for z in self.species):
            raise ValueError(f"species must be different atomic numbers below {TABLE_SIZE}, at least one; got {self.species}")
        self.irreps_out = Irreps([(channels, (0, 1))])
        self.weight = nn.Parameter(torch.randn(len(self.species), channels, dtype=dtype, device=device))
        table = torch.full((TABLE_SIZE,), -1, dtype=torch.int64, device=device)
        table[list(self.species)] = torch.arange(len(self.species), dtype=torch.int64, device=device)
        self.register_buffer("table", table, persistent=False)

    def forward(self, species: Int[Tensor, " nodes"]) -> Float[Tensor, "nodes channels"]:
        index = self.index(species)
        features = self.weight[index.clamp(min=0)]
        if _tracing(species):
            features = torch.where((index < 0)[:, None], torch.full_like(features, torch.nan), features)
        return features

    def index(self, species: Int[Tensor, " nodes"]) -> Int[Tensor, " nodes"]:
        """Which row of ``weight`` each atom has, 0 to len(species) - 1; in compiled code -1 for an unknown species."""
        if _tracing(species):
            known = (species >= 0) & (species < TABLE_SIZE)
            return torch.where(known, self.table[torch.where(known, species, 0)], -1)
        if species.numel():
            low, high = (int(z) for z in torch.aminmax(species))
            if low < 0 or high >= TABLE_SIZE:
                raise ValueError(f"atomic numbers must lie in 0..{TABLE_SIZE - 1}, got {low if low < 0 else high}")
        index = self.table[species]
        if bool((index < 0).any()):
            unknown = sorted({int(z) for z in species[index < 0]})
            names = ", ".join(f"{z} ({_symbol(z)})" for z in unknown)
            raise ValueError(
                f"species {names} {'is' if len(unknown) == 1 else 'are'} unknown to this model, "
                f"which was built for {', '.join(map(_symbol, self.species))}"
            )
        return index

    def __repr__(self) -> str:
        return f"SpeciesEmbedding(species {self.species} -> {self.irreps_out})"


TABLE_SIZE = 128
"""Atomic numbers 0 to 127 are representable; 0 stands for a dummy atom."""


def _tracing(species: Tensor) -> bool:
    """Whether this call is being compiled, exported or traced, or on the meta device, where values cannot be looked at."""
    return torch.compiler.is_compiling() or type(species) is not Tensor or species.is_meta


def _symbol(z: int) -> str:
    from ase.data import chemical_symbols  # only an error needs it

    return chemical_symbols[z] if z < len(chemical_symbols) else f"Z={z}"
