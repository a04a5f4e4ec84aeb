"""The convolution on sparse voxels, with a stand-in for the engine that finds neighbours in a dictionary of coordinates."""

import importlib
import itertools
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

OURS, THEIRS = "tesseral.interfaces.e3nn.nn.models", "e3nn.nn.models"
ARGUMENTS = ("0e+1e", "0e+1e+2o", "0e+1o+2e", 3.0, 2)
STEPS = (1.0, 0.7, 1.0)
GRID = (4, 5, 3)


class SparseTensor:
    """Features of voxels; the manager is the list of their coordinates."""

    def __init__(self, features, coordinate_map_key, coordinate_manager):
        self.F, self.coordinate_map_key, self._manager = features, coordinate_map_key, coordinate_manager


class ConvolutionFunction:
    """The sum over the kernel of its matrices times the features of neighbours; the first axis of the kernel is the fastest."""

    def apply(self, features, kernel, generator, mode, key_in, key_out, manager):
        assert (mode, key_in, generator.dimension) == ("default", key_out, 3)
        place = {voxel: row for row, voxel in enumerate(manager)}
        axes = [range(-(n // 2), n // 2 + 1) for n in generator.size]
        offsets = [(x, y, z) for z, y, x in itertools.product(*reversed(axes))]
        out = features.new_zeros(len(manager), kernel.shape[2])
        for (row, voxel), (matrix, offset) in itertools.product(enumerate(manager), zip(kernel, offsets, strict=True)):
            neighbour = place.get(tuple(a + b for a, b in zip(voxel, offset, strict=True)))
            if neighbour is not None:
                out[row] += features[neighbour] @ matrix
        return out


@pytest.fixture(autouse=True)
def _engine_and_double(monkeypatch):
    engine, backend = ModuleType("MinkowskiEngine"), ModuleType("MinkowskiEngineBackend._C")
    engine.SparseTensor, engine.MinkowskiConvolutionFunction = SparseTensor, ConvolutionFunction
    engine.KernelGenerator = lambda size, dimension: SimpleNamespace(size=tuple(size), dimension=dimension)
    backend.ConvolutionMode = SimpleNamespace(DEFAULT="default")
    stand_ins = {
        engine.__name__: engine,
        "MinkowskiEngineBackend": ModuleType("MinkowskiEngineBackend"),
        backend.__name__: backend,
    }
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def voxels():
    torch.manual_seed(3)
    everywhere = list(itertools.product(*map(range, GRID)))
    manager = [everywhere[n] for n in torch.randperm(len(everywhere))[:20].tolist()]
    return SparseTensor(torch.randn(len(manager), 4), "key", manager)


def convolution(tree, version="v2203.sparse_voxel_convolution"):
    torch.manual_seed(0)
    return importlib.import_module(f"{tree}.{version}").Convolution(*ARGUMENTS, steps=STEPS)


def test_it_is_the_dense_convolution_with_zeros_between_the_voxels():
    sparse, x = convolution(OURS), voxels()
    y = sparse(x)
    assert (y.coordinate_map_key, y._manager) == (x.coordinate_map_key, x._manager)
    dense = convolution(OURS, "v2104.voxel_convolution")
    dense.load_state_dict(sparse.state_dict(), strict=True)
    image = torch.zeros(1, 4, *GRID)
    where = tuple(torch.tensor(x._manager).T)
    image[0][:, *where] = x.F.T
    expected = dense(image)[0][:, *where].T
    assert float(expected.detach().abs().max()) > 1e-3
    torch.testing.assert_close(y.F, expected)
    torch.testing.assert_close(dense.alone(image)[0][:, *where].T, sparse.sc(x.F))
    assert float((y.F - sparse.sc(x.F)).detach().abs().max()) > 1e-3  # neighbours are found


def test_it_is_e3nns():
    sys.modules.pop(f"{THEIRS}.v2203.sparse_voxel_convolution", None)  # which looks for the engine when it is imported
    theirs, ours, x = convolution(THEIRS), convolution(OURS), voxels()
    torch.testing.assert_close(ours(x).F, theirs(x).F)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    of_theirs, of_ours = (torch.autograd.grad(net(x).F.square().sum(), [net.weight, net.sc.weight]) for net in (theirs, ours))
    for a, b in zip(of_ours, of_theirs, strict=True):
        torch.testing.assert_close(a, b)
