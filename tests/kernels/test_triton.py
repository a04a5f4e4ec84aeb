"""The Triton kernels: run against the definition, compiled for GPUs that need not be here, and refused with the reason."""

import importlib
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest
import torch

from tesseral.kernels import dispatch, triton, triton_source
from tesseral.kernels.triton_source import Pass
from tesseral.ops.convolution import ConvolutionPlan
from tests.kernels import programs

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton (pip install triton)")
ROOT = pathlib.Path(__file__).parents[2]
CPU = torch.device("cpu")


def run(arguments: list[str], **environment: str) -> None:
    """Run Python in a process of its own, whose words are the error where it fails."""
    surroundings = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | environment
    result = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=surroundings, capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout + result.stderr)[-6000:]


@needs_triton
def test_agreement_with_the_reference(tmp_path):
    interpret = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    run(
        ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/kernels/triton_agreement.py"],
        TESSERAL_CACHE=str(tmp_path),
        **interpret,
    )


_COMPILE = """
import sys, torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tesseral.kernels.triton import kernel
from tesseral.ops.convolution import ConvolutionPlan

forward = ConvolutionPlan("20x0e+8x1o", "0e+1o", "0e+1o").program
for program, dtype, target in [
    (forward, torch.float64, GPUTarget("cuda", 80, 32)),
    (forward.gradient().program, torch.float32, GPUTarget("cuda", 90, 32)),
    (forward.gradient().program, torch.float64, GPUTarget("hip", "gfx942", 64)),
]:
    made = kernel(program, dtype)
    for launch in made.launches:
        for name, _ in launch.kernels:
            function = getattr(made.module, name)
            floats = "*fp32" if dtype == torch.float32 else "*fp64"
            kinds = {"order": "*i64", "pointers": "*i64", "items": "i32", "rows": "i32", "splits": "i32", "ORDERED": "constexpr"}
            kinds |= {a: "*i64" if a.startswith("index") else floats for a in function.arg_names if a not in kinds}
            signature = {a: kinds[a] for a in function.arg_names}
            for ordered in (True, False):
                source = ASTSource(function, signature, {"ORDERED": ordered})
                compiled = triton.compile(source, target=target, options={"num_warps": 1, "enable_fp_fusion": True})
                assert compiled.asm["cubin" if target.backend == "cuda" else "hsaco"], target
                assert "atom" not in compiled.asm["ttgir"]
"""


@needs_triton
def test_compilation_for_gpus_that_are_not_here(tmp_path):
    """What the interpreter lets pass, the compiler need not: types, loops, layouts. Ampere, Hopper and an AMD MI300."""
    run(["-W", "ignore", "-c", _COMPILE], TESSERAL_CACHE=str(tmp_path), TRITON_CACHE_DIR=str(tmp_path))


def test_passes():
    """Each output is summed in the order of its own map; outputs per edge go where the fewest numbers are gathered."""
    forward, backward, double = programs.derivatives(ConvolutionPlan("8x0e+8x1o", "0e+1o", "0e+1o").program)
    assert triton_source.passes(forward) == (Pass("destination", (0,)),)
    assert triton_source.passes(backward) == (Pass("source", (0, 1, 2)),)
    assert [one.axis for one in triton_source.passes(double)] == ["source", "destination"]
    weights_only = ConvolutionPlan("8x0e+8x1o+8x2e", "0e+1o+2e", "0e+1o+2e").program.gradient((False, True, True)).program
    assert triton_source.passes(weights_only) == (Pass("destination", (0, 1)),)
    assert triton_source.passes(programs.elementwise()) == (Pass("shared", (0,)),)


def test_long_rows_are_split():
    assert triton._splits(items=50_000, rows=2_000) == 1
    assert triton._splits(items=50_000, rows=1) == -(-50_000 // 64)
    assert triton._splits(items=10**7, rows=1) == 4096
    assert triton._splits(items=10**6, rows=5) == 4096 // 5


class TestRefusal:
    program = ConvolutionPlan("4x0e", "0e", "0e").program

    def test_no_triton(self, monkeypatch):
        monkeypatch.setattr(triton.importlib.util, "find_spec", lambda name: None)
        assert "triton is not installed" in triton.refusal(self.program, torch.device("cuda"), torch.float32)

    @needs_triton
    def test_a_cpu_without_the_interpreter(self, monkeypatch):
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        assert "the tensors are on the CPU" in triton.refusal(self.program, CPU, torch.float32)
        with pytest.raises(dispatch.BackendError, match="TRITON_INTERPRET=1"):
            dispatch.execute(self.program, *programs.inputs(self.program), backend="triton")

    @needs_triton
    @pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this process interprets from the start")
    def test_the_interpreter_asked_for_too_late(self, monkeypatch):
        importlib.import_module("triton.language")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        assert "set after triton had been imported" in triton.refusal(self.program, CPU, torch.float32)

    @needs_triton
    def test_other_devices(self):
        assert "the tensors are on mps" in triton.refusal(self.program, torch.device("mps"), torch.float32)
        assert triton.refusal(self.program, torch.device("cuda"), torch.float32) is None

    def test_other_dtypes(self):
        assert "torch.bfloat16" in triton.refusal(self.program, torch.device("cuda"), torch.bfloat16)

    @pytest.mark.parametrize("make", [programs.matrix_product, programs.full_product])
    def test_programs_that_are_not_channelwise(self, make):
        assert "channels" in triton.refusal(make(), torch.device("cuda"), torch.float32)

    def test_programs_too_long_to_unroll(self, monkeypatch):
        monkeypatch.setattr(triton_source, "_MOST_TERMS", 8)
        program = ConvolutionPlan("5x0e+5x1o", "0e+1o", "0e+1o").program
        assert "too long a kernel" in triton.refusal(program, torch.device("cuda"), torch.float32)
