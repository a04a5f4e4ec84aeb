"""The contract of models catches what it is for: a faulty model for each check."""

import pytest
import torch
from ase.data import atomic_numbers

from tesseral.graph import Graph
from tesseral.models import files
from tesseral.models.nequip import NequIP, NequIPSettings
from tests.models import contract

SPECIES = tuple(atomic_numbers[name] for name in ("H", "C", "O"))


def sound() -> NequIP:
    torch.manual_seed(0)
    settings = NequIPSettings(cutoff=3.5, layers=2, lmax=1, channels=4, radial_channels=8, species=SPECIES, num_neighbors=8.0)
    return NequIP(settings, atomic_energies={1: -13.0, 6: -1000.0, 8: -2000.0}, dtype=torch.float64)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_a_sound_model_passes(check, tmp_path) -> None:
    check(sound(), tmp_path)


class Tilted(NequIP):
    def forward(self, graph: Graph):
        return super().forward(graph) + 1e-3 * graph.positions[:, 2].sum()


class Detached(NequIP):
    def forward(self, graph: Graph):
        return super().forward(graph) + 0.1 * graph.edge_vectors().detach().norm(dim=1).clamp(max=3.5).sub(3.5).square().sum()


class Averaged(NequIP):
    def forward(self, graph: Graph):
        return super().forward(graph) + graph.num_graphs * 1e-3 + 0.0 * graph.positions.sum()


class Intensive(NequIP):
    def forward(self, graph: Graph):
        return super().forward(graph) / graph.nodes_per_graph()


class Abrupt(NequIP):
    def forward(self, graph: Graph):
        return super().forward(graph) + 1e-3 * graph.num_edges


class Bent(NequIP):
    """A pair term that vanishes at the cutoff with its slope, but not with its curvature."""

    def forward(self, graph: Graph):
        beyond = (self.cutoff - graph.edge_vectors().norm(dim=1)).clamp(min=0)
        return super().forward(graph).index_add(0, graph.batch[graph.source], 0.1 * beyond.square())


class Placed(NequIP):
    """Knows in which cell of the crystal an atom is written down."""

    def forward(self, graph: Graph):
        return super().forward(graph) + 1e-3 * graph.positions.square().sum()


class Nosy(NequIP):
    def node_energies(self, graph: Graph):
        return super().node_energies(graph) * graph.num_nodes


class Counting(NequIP):
    """Reads a number of atoms in Python, which a trace takes for a constant."""

    def forward(self, graph: Graph):
        return super().forward(graph) * len(graph.species.tolist())


class Frozen(NequIP):
    def forward(self, graph: Graph):
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.readout.weight.requires_grad_(True)
        return super().forward(graph)


class Cut(NequIP):
    """Trains its energy, and its forces as if the last layer were constant."""

    def node_energies(self, graph: Graph):
        energies = super().node_energies(graph)
        return energies + 0.1 * (energies - self.atomic_energies[self.embedding.index(graph.species)]).detach() * energies


class Rooted(NequIP):
    """Keeps a table where it was made."""

    def node_energies(self, graph: Graph):
        return super().node_energies(graph) + torch.zeros(len(self.species))[self.embedding.index(graph.species)]


class Asking(NequIP):
    """Waits for the GPU to say a number."""

    def node_energies(self, graph: Graph):
        return super().node_energies(graph) * (1.0 if graph.species.max() < 10 else 2.0)


class Forgetful(NequIP):
    def state_dict(self, *args, **kwargs):
        return {name: torch.zeros_like(value) for name, value in super().state_dict(*args, **kwargs).items()}


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Tilted, contract.check_invariance),
        (Detached, contract.check_forces),
        (Averaged, contract.check_batch),
        (Intensive, contract.check_supercell),
        (Abrupt, contract.check_smoothness),
        (Bent, contract.check_second_derivatives),
        (Frozen, contract.check_training),
        (Cut, contract.check_training),
        (Forgetful, contract.check_file),
        (Placed, contract.check_calculator),
        (Nosy, contract.check_division),
        (Rooted, contract.check_device),
        (Asking, contract.check_device),
    ],
)
def test_a_faulty_model_is_caught(kind, check, tmp_path) -> None:
    model = sound()
    model.__class__ = kind
    with pytest.raises((AssertionError, RuntimeError)):
        check(model, tmp_path)


def test_rounded_energies_are_caught(tmp_path, monkeypatch) -> None:
    load = files.load

    def rounding(path, **options):
        model, metadata = load(path, **options)
        model.atomic_energies.add_(1e-6)
        return model, metadata

    monkeypatch.setattr(files, "load", rounding)
    with pytest.raises(AssertionError):
        contract.check_precision(sound(), tmp_path)


@pytest.mark.compile
@pytest.mark.parametrize("check", contract.COMPILED_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_a_model_that_cannot_be_traced_is_caught(check, tmp_path) -> None:
    model = sound()
    model.__class__ = Counting
    with pytest.raises(Exception):  # noqa: B017 (the tracer's own errors are of many kinds)
        check(model, tmp_path)
