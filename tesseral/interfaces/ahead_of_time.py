"""Models compiled ahead of time: energies, forces and stress as one package of AOTInductor around tesseral's kernels."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config
from torch.fx.experimental.proxy_tensor import make_fx

from tesseral.graph import Graph, build_graph
from tesseral.kernels import operator as _registers_the_kernels  # noqa: F401
from tesseral.models import files
from tesseral.physics.forces import Prediction, energy_and_forces

FIELDS = ("positions", "species", "cell", "pbc", "edge_index", "shifts", "batch", "source_order", "destination_pointers")


class AheadOfTime:
    """A loaded package: called with the graph of one structure it gives energy (1,), forces (nodes, 3) and stress (1, 3, 3).

    In eV and Å.

    ``cutoff`` (Å) and ``species`` are the model's. The stress is NaN for a structure without a volume. Results are detached:
    forces are in the package, higher derivatives need the model itself.
    """

    def __init__(self, package: Any, cutoff: float, species: Sequence[int]) -> None:
        self._package, self.cutoff, self.species = package, cutoff, tuple(species)

    def __call__(self, graph: Graph) -> Prediction:
        unknown = sorted(set(graph.species.tolist()) - set(self.species))
        if unknown:
            raise ValueError(f"the model knows the elements {self.species}, not {unknown[0]}")
        if graph.num_graphs != 1:
            raise ValueError(f"a compiled model takes one structure at a time; got a batch of {graph.num_graphs}")
        if graph.num_nodes < 2 or graph.num_edges < 2:
            raise ValueError(f"a compiled model wants two atoms and two edges at least; got {graph}")
        return Prediction(*self._package(*(getattr(graph, name) for name in FIELDS)))


class _Predict(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        graph = Graph(*tensors)  # type: ignore[arg-type]  # its first fields, in order
        energy, forces, stress = energy_and_forces(self.model, graph, stress=True)
        assert stress is not None
        return energy, forces, stress


def export_ahead(source: Path, output: Path, *, overwrite: bool = False) -> AheadOfTime:
    """Compile the model of ``source`` into the package ``output`` (.pt2), for structures of any number of atoms and edges.

    The package holds the compiled graph and the weights; kernels are compiled, or found in the cache, where it runs. Raises
    ``ValueError`` for another ending, an existing file without ``overwrite`` or a model that cannot be traced, and
    :class:`~tesseral.models.files.ModelFileError` for a file that is no model.
    """
    if output.suffix != ".pt2":
        raise ValueError(f"a package of AOTInductor ends with .pt2; name it {output.with_suffix('.pt2').name}")
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists; replace it with --overwrite, or name another file")
    model, _ = files.load(source)
    program = exported(model)
    metadata = {"cutoff": model.cutoff, "species": list(model.species)}
    with tempfile.TemporaryDirectory(dir=output.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, about its tree specifications
        path = torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(Path(folder) / "model.pt2"),
            inductor_configs={"aot_inductor.metadata": {"tesseral": json.dumps(metadata)}},
        )
        Path(path).replace(output)
    return load(output)


def exported(model: nn.Module) -> torch.export.ExportedProgram:
    """Energies, forces and stress as one exported program of the tensors of a graph, for any number of atoms and edges."""
    model = model.eval().requires_grad_(False)
    example = _example(model)
    inputs = tuple(getattr(example, name) for name in FIELDS)
    with _config.patch(use_duck_shape=False):  # type: ignore[attr-defined]  # sizes that agree by chance are not the same
        traced = make_fx(_Predict(model), tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs)
    nodes, edges, pointers = torch.export.Dim("nodes", min=2), torch.export.Dim("edges", min=2), torch.export.Dim.AUTO
    sizes = ({0: nodes}, {0: nodes}, None, None, {1: edges}, {0: edges}, {0: nodes}, {0: edges}, {0: pointers})
    return torch.export.export(traced, inputs, dynamic_shapes=sizes, strict=False)


def load(path: Path | str) -> AheadOfTime:
    """The package written by :func:`export_ahead`. Raises ``ValueError`` for a file that is none."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        package = torch._inductor.aoti_load_package(str(path))
        known = json.loads(package.loader.get_metadata()["tesseral"])
    except (RuntimeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no model compiled by `tesseral export aotinductor`: {error}") from error
    return AheadOfTime(package, known["cutoff"], known["species"])


def _example(model: Any) -> Graph:
    """A crystal with the model's elements, to trace with."""
    symbols = [model.species[n % len(model.species)] for n in range(4)]
    step = 0.4 * model.cutoff
    positions = [(0, 0, 0), (step, 0, 0), (0, 1.1 * step, 0), (0, 0, 1.2 * step)]
    return build_graph(ase.Atoms(symbols, positions=positions, cell=[3 * step] * 3, pbc=True), model.cutoff)
