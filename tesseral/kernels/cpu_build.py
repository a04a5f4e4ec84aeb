"""From C++ source to a loaded function: the system compiler, and a cache on disk that several processes may share.

The cache lies in ``$TESSERAL_CACHE``, or in ``tesseral`` under ``$XDG_CACHE_HOME`` or ``~/.cache``. A library is named by the
hash of its source, the compiler, the flags and the processor; it is written under a temporary name and renamed, so that
readers never see half a file.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from tesseral.kernels.cpu_source import Target

# Never -ffast-math: its start-up code changes the floating-point mode of the whole process. Nor may the compiler reorder sums,
# which the generator has already put in an order of fused multiply-adds.
_FLAGS = (
    "-std=c++17", "-O2", "-shared", "-fPIC", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-exceptions",
    "-fno-rtti", "-fno-asynchronous-unwind-tables", "-w",
)  # fmt: skip


class CompilerError(RuntimeError):
    """There is no working C++ compiler, or it refused a source; the message says which and why."""


def cache_folder() -> pathlib.Path:
    """Where compiled kernels are kept."""
    if folder := os.environ.get("TESSERAL_CACHE"):
        return pathlib.Path(folder)
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tesseral"


@functools.cache
def compiler() -> str | None:
    """Path of the C++ compiler: ``$CXX``, else c++, g++ or clang++; None without one."""
    wanted = os.environ.get("CXX")
    return next((found for name in ([wanted] if wanted else ["c++", "g++", "clang++"]) if (found := shutil.which(name))), None)


def missing_compiler() -> str | None:
    """A sentence when there is no compiler, None when there is."""
    if compiler():
        return None
    wanted = os.environ.get("CXX")
    return (
        f"no C++ compiler: CXX={wanted!r} is not a program"
        if wanted
        else "no C++ compiler (c++, g++, clang++) on the PATH; install one"
    )


@functools.cache
def _processor() -> str:
    """What distinguishes this processor's instruction set."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    keep = ("model name", "flags", "Features", "CPU part", "CPU implementer")
    first = text.split("\n\n", 1)[0]
    return platform.machine() + "".join(line for line in first.splitlines() if line.startswith(keep))


@functools.cache
def target() -> Target:
    """The vector unit of this processor."""
    flags = set(_processor().split())
    if {"avx512f", "avx512dq", "avx512vl", "avx512bw"} <= flags:
        return Target(64, True)
    return Target(32 if "avx2" in flags else 16, False)


@functools.cache
def _command() -> tuple[str, ...]:
    program = compiler()
    assert program is not None
    native = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    return (program, *_FLAGS, native, "-fopenmp")


@functools.cache
def _environment() -> str:
    """What besides the source decides the binary: compiler (path, size, date), flags, processor."""
    command = _command()
    stat = os.stat(os.path.realpath(command[0]))
    return "\n".join([*command, str(stat.st_size), str(int(stat.st_mtime)), _processor()])


def library_path(source: str) -> pathlib.Path:
    """Where the compiled form of ``source`` lies, or will."""
    digest = hashlib.sha256("\n".join([_environment(), source]).encode()).hexdigest()
    return cache_folder() / f"{digest[:40]}.so"


def start(source: str) -> subprocess.Popen | None:
    """Begin compiling ``source`` in another process; None when it is compiled already. Finish with :func:`load`."""
    if library_path(source).exists():
        return None
    return _spawn(source, _command())


def _spawn(source: str, command: Sequence[str]) -> subprocess.Popen:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    handle, output = tempfile.mkstemp(suffix=".tmp", dir=folder)
    os.close(handle)
    process = subprocess.Popen(
        [*command, "-x", "c++", "-", "-o", output], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdin is not None
    process.stdin.write(source.encode())
    process.stdin.close()
    process.stdin = None
    process.tesseral_output = output  # type: ignore[attr-defined]
    return process


def finish(source: str, process: subprocess.Popen) -> str:
    """Wait for a compiler started by :func:`start` and publish its library. The compiler's words, empty when it went well."""
    words = process.communicate()[0].decode(errors="replace")
    output = process.tesseral_output  # type: ignore[attr-defined]
    if process.returncode == 0:
        os.replace(output, library_path(source))
        return ""
    os.unlink(output)
    return words or f"it ended with status {process.returncode}"


def load(source: str, process: subprocess.Popen | None = None) -> ctypes.CDLL:
    """The library of ``source``, compiled if need be. Raises :class:`CompilerError` with the compiler's words."""
    if missing := missing_compiler():
        raise CompilerError(missing)
    path = library_path(source)
    if process is not None or not path.exists():
        words = finish(source, process or _spawn(source, _command()))
        if words and "fopenmp" in words:  # a compiler without OpenMP still makes a correct serial kernel
            words = finish(source, _spawn(source, [flag for flag in _command() if flag != "-fopenmp"]))
        if words:
            raise CompilerError(f"{compiler()} refused a generated kernel:\n{words[-2000:]}")
    return ctypes.CDLL(str(path))
