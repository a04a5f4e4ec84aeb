"""Generated C++ against the definition, and what makes it trustworthy: determinism, tails, threads, no side effects."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings

from tesseral.kernels import cpu, cpu_build, cpu_source, memory, reference
from tesseral.kernels.index_map import IndexMap, sort
from tesseral.ops.convolution import ConvolutionPlan
from tests.kernels import programs

pytestmark = pytest.mark.skipif(cpu_build.compiler() is None, reason="needs a C++ compiler")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assert_agreement(program, tensors, maps, rows):
    """The kernel agrees with the float64 reference, relative to each output's largest entry."""
    found = cpu.execute(program, tensors, maps, rows)
    expected = reference.execute(program, [t.double() for t in tensors], maps, rows)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        scale = b.abs().max().item() if b.numel() else 1.0
        error = (a.double() - b).abs().max().item() if b.numel() else 0.0
        assert error <= TOLERANCE[tensors[0].dtype] * max(scale, 1e-30), f"{error / scale:.1e} for {program}"
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", list(programs.IRREPS))
@pytest.mark.parametrize("order", [0, 1, 2])
def test_convolution(name, order, dtype):
    program = programs.derivatives(programs.convolution(name))[order]
    assert_agreement(program, *programs.inputs(program, dtype=dtype))
    assert_agreement(program, *programs.inputs(program, dtype=dtype, sorted_by="destination"))
    assert_agreement(program, *programs.inputs(program, dtype=dtype, items=0))
    assert_agreement(program, *programs.inputs(program, dtype=dtype, items=1, rows=1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("number", [1, 2])
def test_rows_wider_than_the_first_cache(number, dtype, threads):
    program = ConvolutionPlan("450x0e+301x1o+33x2e", "0e+1o+2e", "0e+1o+2e").program
    threads(number)
    assert_agreement(program, *programs.inputs(program, dtype=dtype))
    assert_agreement(program, *programs.inputs(program, dtype=dtype, sorted_by="destination"))
    again = [cpu.execute(program, *programs.inputs(program, dtype=dtype))[0] for _ in range(2)]
    assert torch.equal(*again)


@pytest.mark.parametrize("make", [programs.elementwise, programs.shared_weights, programs.symmetric_contraction])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_other_channelwise_programs(make, order):
    program = programs.derivatives(make())[order]
    assert_agreement(program, *programs.inputs(program))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(programs.descriptions())
def test_random_programs(description):
    program = programs.build(description)
    assert_agreement(program, *programs.inputs(program, items=9, rows=4))


def test_sums_over_all_items_are_accurate_in_single_precision():
    program = programs.shared_weights().gradient((False, False, True)).program
    assert_agreement(program, *programs.inputs(program, items=20_000, rows=50, dtype=torch.float32))


@pytest.mark.parametrize("make", [programs.matrix_product, programs.full_product])
def test_programs_outside_the_class_are_refused_with_the_reason(make):
    program = make()
    assert "channels" in cpu.refusal(program, torch.device("cpu"), torch.float32)
    with pytest.raises(cpu_source.Refused):
        cpu.execute(program, *programs.inputs(program))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_repeats_are_bit_identical_and_threads_agree(order, threads):
    program = programs.derivatives(programs.convolution("equal"))[order]
    tensors, maps, rows = programs.inputs(program, items=500, rows=60, dtype=torch.float32)
    results = {}
    for count in (1, 2, 3, 8):
        threads(count)
        results[count] = assert_agreement(program, tensors, maps, rows)
        for a, b in zip(results[count], cpu.execute(program, tensors, maps, rows), strict=True):
            assert torch.equal(a, b)


def test_one_row_takes_everything(threads):
    """More threads than rows with edges, and nodes without any."""
    threads(4)
    program = programs.convolution("odd")
    tensors, _, _ = programs.inputs(program, items=300, rows=6)
    index = torch.full((300,), 3)
    out = assert_agreement(program, tensors, [IndexMap(torch.randint(0, 6, (300,))), IndexMap(index)], [6, 6])[0]
    assert torch.all(out[[0, 1, 2, 4, 5]] == 0)


def test_a_given_order_is_used():
    for program in programs.derivatives(programs.convolution("odd")):
        tensors, maps, rows = programs.inputs(program)
        known = [sort(m.index, n) for m, n in zip(maps, rows, strict=True)]
        for a, b in zip(cpu.execute(program, tensors, known, rows), cpu.execute(program, tensors, maps, rows), strict=True):
            assert torch.equal(a, b)


def test_non_contiguous_tensors():
    program = programs.convolution("odd")
    tensors, maps, rows = programs.inputs(program)
    strided = [torch.stack([t, t], dim=-1)[..., 0] for t in tensors]
    assert not strided[0].is_contiguous()
    index = torch.stack([m.index for m in maps], dim=1)
    assert_agreement(program, strided, [IndexMap(index[:, 0]), IndexMap(index[:, 1])], rows)


def test_indices_out_of_range_are_refused():
    program = programs.convolution("odd")
    tensors, maps, rows = programs.inputs(program)
    maps[0].index[3] = rows[0]
    with pytest.raises(ValueError, match=r"'source' must lie in 0\.\.6; found 0\.\.7"):
        cpu.execute(program, tensors, maps, rows)


def test_denormal_numbers_survive_loading_a_kernel():
    program = programs.convolution("odd")
    cpu.execute(program, *programs.inputs(program))
    tiny = torch.tensor([1e-300], dtype=torch.float64)
    assert (tiny * 1e-10).item() > 0


def test_large_results_reuse_memory():
    memory.release()
    first = memory.empty((1000, 500), torch.float32)
    view, address = first[3:], first.data_ptr()
    del first
    other = memory.empty((1000, 500), torch.float32)
    assert other.data_ptr() != address, "a block is not handed out again while a view of it lives"
    del view
    assert memory.empty((1000, 500), torch.float32).data_ptr() == address
    assert address % 64 == 0
    del other
    assert memory.release() >= 4 * 1000 * 500


def _compile_in(folder: str) -> list[float]:
    os.environ["TESSERAL_CACHE"] = folder
    program = programs.shared_weights()
    return cpu.execute(program, *programs.inputs(program))[0].flatten().tolist()


def test_two_processes_compile_at_once(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_compile_in, [str(tmp_path)] * 2, chunksize=1)
    assert first == second
    assert not list(tmp_path.glob("*.tmp"))
    assert list(tmp_path.glob("*.so"))


def test_a_missing_compiler_is_said_and_the_reference_runs():
    code = """
import torch, warnings
from tesseral.kernels import dispatch
from tests.kernels import programs
program = programs.shared_weights()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    dispatch.execute(program, *programs.inputs(program))
assert any("no C++ compiler: CXX='/nonexistent/c++'" in str(w.message) for w in caught), caught
try:
    dispatch.execute(program, *programs.inputs(program), "cpu")
except dispatch.BackendError as error:
    assert "no C++ compiler" in str(error)
else:
    raise SystemExit("a named backend must raise")
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"CXX": "/nonexistent/c++"})


def test_a_broken_compiler_is_quoted(tmp_path):
    script = tmp_path / "c++"
    script.write_text("#!/bin/sh\necho 'this compiler is broken'\nexit 3\n")
    script.chmod(0o755)
    code = """
from tesseral.kernels import cpu, cpu_build
from tests.kernels import programs
program = programs.shared_weights()
try:
    cpu.execute(program, *programs.inputs(program))
except cpu_build.CompilerError as error:
    assert "this compiler is broken" in str(error)
else:
    raise SystemExit("no error")
"""
    environment = os.environ | {"CXX": str(script), "TESSERAL_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("target", [cpu_source.Target(32, False), cpu_source.Target(16, False)])
def test_sources_for_narrower_vector_units(target):
    """The source for AVX2 or NEON is valid C++ here too (compiled, not run: the lanes may not exist)."""
    program = programs.derivatives(programs.convolution("odd"))[1]
    text = cpu_source.emit(program, "float", target, cpu_source.axis_of(program))
    subprocess.run(["g++", "-std=c++17", "-O0", "-w", "-fsyntax-only", "-x", "c++", "-"], input=text.encode(), check=True)
