"""Species: known, unknown, compiled."""

import pytest
import torch

from tesseral.nn import SpeciesEmbedding
from tests.contracts import GRAPH, Case, check_dtypes, check_empty, check_gradients, check_pickle, check_second_gradients, name_of


def atoms(dtype, batch):
    return (torch.tensor([8, 1, 1, 6, 8, 6, 1])[:batch],)


CASE = Case("species", lambda dtype: SpeciesEmbedding([1, 6, 8], 4, dtype=dtype), [None], None, draw=atoms)


@pytest.mark.parametrize("check", [check_gradients, check_second_gradients, check_empty, check_pickle], ids=name_of)
def test_contract(check):
    check(CASE)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
def test_contract_graph(check):
    check(CASE)


def test_rows_belong_to_species():
    embedding = SpeciesEmbedding([8, 1, 6], 4)
    torch.testing.assert_close(embedding(torch.tensor([1, 6, 8])), embedding.weight[[1, 2, 0]])
    assert embedding.index(torch.tensor([1, 6, 8])).tolist() == [1, 2, 0]
    assert str(embedding.irreps_out) == "4x0e"
    assert embedding.weight.dtype == torch.float32


def test_unknown_species_are_named():
    embedding = SpeciesEmbedding([1, 6], 4)
    with pytest.raises(ValueError, match=r"species 8 \(O\), 79 \(Au\) are unknown to this model, which was built for H, C"):
        embedding(torch.tensor([1, 79, 8, 8]))
    for impossible in (-1, 128, 10**6):
        with pytest.raises(ValueError, match=f"must lie in 0..127, got {impossible}"):
            embedding(torch.tensor([1, impossible]))


@pytest.mark.compile
def test_unknown_species_are_not_a_number_in_compiled_code():
    torch._dynamo.reset()
    compiled = torch.compile(SpeciesEmbedding([1, 6], 4), fullgraph=True, backend="aot_eager")
    y = compiled(torch.tensor([1, 79, -1, 10**6, 6]))
    assert torch.isnan(y).any(-1).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("species", [[], [1, 1], [-1], [128]])
def test_impossible_lists_are_refused(species):
    with pytest.raises(ValueError, match="different atomic numbers below 128"):
        SpeciesEmbedding(species, 4)


def test_dtypes_follow_the_weights():
    assert SpeciesEmbedding([1], 2, dtype=torch.float64)(torch.tensor([1])).dtype == torch.float64
    with pytest.raises(AssertionError):  # there is no floating-point input to follow
        check_dtypes(CASE)
