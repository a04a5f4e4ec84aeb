"""Adding elements to a model: more species, and for the old ones the same energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tesseral.models import EnergyModel, build, settings_of


def extend_species(
    model: torch.nn.Module,
    species: Sequence[int],
    *,
    atomic_energies: Mapping[int, float] | None = None,
    scales: Mapping[int, float] | None = None,
    like: Mapping[int, int] | None = None,
    backend: str = "auto",
) -> EnergyModel:
    """A copy of the model that also knows the atomic numbers ``species``.

    Structures of the old elements keep their energies, up to rounding. A new element starts with the weights of an old one,
    that of the nearest atomic number or what ``like`` names for it: a place to begin training from, no prediction.
    ``atomic_energies`` (eV) of the new elements are those of ``like`` when left out, and so are the ``scales``.

    Raises ``ValueError`` for elements that the model knows, or a ``like`` that it does not know, and ``TypeError`` for a model of
    another library, or a sum of models, whose terms are extended one by one.

    >>> from tesseral.models import parse_settings
    >>> small = {"name": "nequip", "species": [1, 8], "num_neighbors": 3.0, "layers": 1, "channels": 4}
    >>> model = build(parse_settings(small), atomic_energies={1: -13.6, 8: -2041.0})
    >>> larger = extend_species(model, [16], atomic_energies={16: -10832.0})
    >>> larger.species, larger.atomic_energies.tolist()
    ((1, 8, 16), [-13.6, -2041.0, -10832.0])
    >>> torch.equal(larger.embedding.weight[2], model.embedding.weight[1])  # sulphur begins as oxygen
    True
    """
    settings = settings_of(model)
    if not hasattr(settings, "num_neighbors"):
        raise TypeError(f"{type(model).__name__} learns no elements; extend the learned terms of a sum one by one")
    old = tuple(int(z) for z in settings.species)  # type: ignore[union-attr]
    new = tuple(dict.fromkeys(int(z) for z in species))
    known = sorted(set(new) & set(old))
    if known or not new:
        raise ValueError(f"the model knows {', '.join(map(str, known))} already: name only new atomic numbers" if known else
                         "no atomic numbers are given: name those to add")  # fmt: skip
    parents = {z: (like or {}).get(z, min((abs(a - z), a) for a in old)[1]) for z in new}
    foreign = sorted({parent for parent in parents.values() if parent not in old})
    if foreign:
        raise ValueError(f"like names {foreign}, but the model knows {', '.join(map(str, old))}: choose among these")

    tensors = model.state_dict()
    device = next(iter(tensors.values())).device
    dtype: torch.dtype = getattr(model, "dtype")  # noqa: B009
    # Copies, because validation is what refuses an atomic number of 0 or 119.
    chosen = type(settings).model_validate(settings.model_dump() | {"species": old + new})
    larger = build(chosen, backend=backend, dtype=dtype, device=device)
    rows = torch.tensor([*range(len(old)), *(old.index(parents[z]) for z in new)], device=device)
    grown = {
        name: _grown(name, tensors[name], value.shape, rows, settings.name == "mace")
        for name, value in larger.state_dict().items()
    }
    larger.load_state_dict(grown)
    with torch.no_grad():
        for z, energy in (atomic_energies or {}).items():
            if z in new:
                larger.atomic_energies[..., larger.species.index(z)] = energy  # type: ignore[union-attr,index,operator]
        for z, scale in (scales or {}).items():
            if z in new:
                larger.scales[..., larger.species.index(z)] = scale  # type: ignore[union-attr,index,operator]
    return larger.train(model.training)


def _grown(name: str, old: Tensor, shape: torch.Size, rows: Tensor, mace: bool) -> Tensor:
    """The tensor with rows for more species, along the one axis whose length is that of the species."""
    if old.shape == shape:
        return old
    axis = next(i for i, (a, b) in enumerate(zip(old.shape, shape, strict=True)) if a != b)
    larger = old.index_select(axis, rows)
    # MACE divides these by the square root of the number of species.
    divided = name == "embedding.weight" or name.endswith(("self_connection.weight", "by_species.weight"))
    return larger * (shape[axis] / old.shape[axis]) ** 0.5 if mace and divided else larger
