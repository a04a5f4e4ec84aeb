"""One side of a client, run by its interpreter: ``worker.py CLIENT SIDE numbers|time SIZE CONVENTION FOLDER``.

SIDE is e3nn, tesseral, *fused* (tesseral, and the client told to use OpenEquivariance's convolutions, which tesseral gives) or
*free* (e3nn's calls made nearly free).

CLIENT may be several, ``mace,nequip``, with CONVENTION ``mace=0.4,nequip=0.6``: then all live in one process, before any
computes.

*numbers* (float64): energies, forces, stress of a random model and of the other side's saved weights, and parameters after one
step, written to FOLDER. *time* (float32): serves rounds of a training step and of an evaluation, by the processor's time where
there is one thread.
"""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
warnings.filterwarnings("ignore")


def main() -> None:
    client, side, task, size, convention, folder = sys.argv[1:7]
    if side in ("tesseral", "fused"):
        from tesseral.interfaces.e3nn import install

        install(dict(pair.split("=") for pair in convention.split(",")) if "=" in convention else convention)
    if side == "free":
        from benchmarks.clients.free import make_free

        make_free()
    modules = {name: importlib.import_module(f"benchmarks.clients.problems.{name}") for name in client.split(",")}
    if task == "time":
        return measure(modules[client], size, side)
    torch.set_default_dtype(torch.float64)
    for name, module in modules.items():
        place = Path(folder) if len(modules) == 1 else Path(folder) / name
        place.mkdir(exist_ok=True)
        numbers(module, size, side, place)


def numbers(module, size: str, side: str, folder: Path) -> None:
    """Write the numbers of this side, and those of the other side's weights where they are there already."""
    own = folder / f"weights_of_{side}.pt"
    of_other = [path for path in folder.glob("weights_of_*.pt") if path != own]
    problem = module.problem(size, torch.float64, seed=1, **_options(side))
    results = {f"random_{k}": v for k, v in problem.evaluate().items()}
    results["random_weights"] = _flat(problem.model)
    torch.save(problem.model.state_dict(), own)
    problem.step()
    results["step_weights"] = _flat(problem.model)
    for path in of_other:
        other = module.problem(size, torch.float64, seed=2, **_options(side))
        # OpenEquivariance's layers have no buffers
        strict = "fused" not in (side, path.stem.removeprefix("weights_of_"))
        other.model.load_state_dict(torch.load(path, weights_only=True), strict=strict)
        results |= {f"loaded_{k}": v for k, v in other.evaluate().items()}
    np.savez(folder / f"numbers_of_{side}.npz", **results)


def measure(module, size: str, side: str) -> None:
    """Serve the two cases."""
    from benchmarks.interleave import serve

    start = time.perf_counter()
    problem = module.problem(size, torch.float32, seed=1, **_options(side))
    built = time.perf_counter() - start
    cases = {"train": problem.step, "evaluate": problem.evaluate}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    serve(cases, {"build_s": built, **problem.description}, warm_up=2, clock=clock)


def _options(side: str) -> dict[str, bool]:
    return {"fused": True} if side == "fused" else {}


def _flat(model: torch.nn.Module) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).double().numpy()


if __name__ == "__main__":
    main()
