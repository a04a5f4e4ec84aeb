"""Relaxed weights find hidden causes: what a cube that becomes a prism lacks, and the fields around a charged particle.

    python recipes/relaxed_fields.py [--smoke]

1. Eight points at the corners of a cube are to move to the corners of a larger cube, or of a prism that is longer along z. A
   relaxed network finds the irreps that the input lacks: none but those of a cube (0e, 4e), or 2e along 3z²-r² and a second 4e.
   At the start the gradient vanishes outside the invariants of the common symmetry, as Curie's principle demands.
2. A charge flies through constant fields E and B. One relaxed layer predicts the change of its velocity from its velocity; its
   vector (1o) comes out along E and its pseudovector (1e) along B, both up to a sign.

After the relaxed E(3) networks of Wang, Hofgard, Gao, Walters and Smidt (2024).
"""

import argparse
import itertools

import ase
import numpy as np
import torch
from torch.nn import functional

from tesseral.graph import build_graph
from tesseral.groups import point_group
from tesseral.o3 import Irreps, spherical_harmonics
from tesseral.symmetry import PointNetwork, RelaxedLinear, TensorAdam, all_irreps, invariant_projection, strengths

IRREPS = all_irreps(4)
CORNERS = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))


def cube(scale: tuple[float, float, float], group: str, steps: int) -> dict:
    """Train a relaxed network to move the corners to ``scale`` times themselves; ``group`` is the symmetry in common."""
    torch.manual_seed(0)
    graph = build_graph(ase.Atoms("C8", positions=CORNERS), cutoff=4.0)
    target = torch.tensor(CORNERS * (np.array(scale) - 1))
    hidden = ["8x0e+4x0o+8x1o+4x1e+8x2e+4x2o"]
    network = PointNetwork("0e", hidden, "1o", cutoff=4.0, num_neighbors=7, relaxation=IRREPS, dtype=torch.float64)
    relaxations = network.relaxations()
    learned = {id(theta) for theta in relaxations}
    weights = torch.optim.Adam([p for p in network.parameters() if id(p) not in learned], lr=1e-2)
    tensors = TensorAdam(relaxations, IRREPS, lr=1e-2, penalty=1e-3)
    inputs = torch.ones(len(CORNERS), 1, dtype=torch.float64)
    allowed = invariant_projection(point_group(group), IRREPS)
    forbidden = 0.0
    for step in range(steps):
        loss = (network(inputs, graph) - target).square().mean()
        weights.zero_grad()
        tensors.zero_grad()
        loss.backward()
        if step == 0:
            gradients = torch.stack([theta.grad for theta in relaxations])
            forbidden = float((gradients - gradients @ allowed).abs().max() / gradients.abs().max())
        weights.step()
        tensors.step()
    return {"loss": float(loss.detach()), "forbidden": forbidden, "relaxations": [theta.detach() for theta in relaxations]}


def report_cube(name: str, group: str, found: dict) -> dict:
    print(f"\ncube -> {name}: loss {found['loss']:.1e}; gradient outside the invariants of {group} at the start: ", end="")
    print(f"{found['forbidden']:.1e} of its largest component")
    cubic = invariant_projection(point_group("Oh"), IRREPS)
    axis = spherical_harmonics(2, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), normalize=True)
    second, fourth = IRREPS.slices()[IRREPS.index("2e")], IRREPS.slices()[IRREPS.index("4e")]
    cosines, beyond = [], []
    for number, theta in enumerate(found["relaxations"]):
        kept = ", ".join(f"{part.irrep} {part.strength:.3f}" for part in strengths(theta, IRREPS) if part.strength > 1e-6)
        cosines.append(abs(float(functional.cosine_similarity(theta[second], axis, dim=0))))
        beyond.append(float((theta - theta @ cubic)[fourth].norm()))
        print(f"  layer {number}: {kept}; |cos(2e, 3z²-r²)| = {cosines[-1]:.6f}; 4e that is not of the cube: {beyond[-1]:.3f}")
    kept = {str(part.irrep) for theta in found["relaxations"] for part in strengths(theta, IRREPS) if part.strength > 1e-6}
    return {"kept": kept, "cosines": cosines, "beyond": beyond, **found}


def charge(steps: int, seed: int) -> dict:
    """Alignment of the learned vector and pseudovector with the fields that a particle (charge and mass 1) feels."""
    generator = torch.Generator().manual_seed(seed)
    electric, magnetic = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    velocity, interval, track = torch.randn(20, 3, dtype=torch.float64, generator=generator), 0.02, []
    for _ in range(50):  # 20 particles; Boris's step rotates exactly
        track.append(velocity)
        half = velocity + interval / 2 * electric
        turn = interval / 2 * magnetic
        other = half + torch.linalg.cross(half, turn.expand_as(half))
        turned = half + torch.linalg.cross(other, (2 * turn / (1 + turn @ turn)).expand_as(half))
        velocity = turned + interval / 2 * electric
    path = torch.stack([*track, velocity])
    change = ((path[1:] - path[:-1]) / interval).flatten(0, 1)
    inputs = torch.cat([torch.ones(len(change), 1, dtype=torch.float64), path[:-1].flatten(0, 1)], dim=1)

    torch.manual_seed(seed)
    irreps = all_irreps(2)
    layer = RelaxedLinear("0e+1o", "1o", irreps, dtype=torch.float64)
    weights = torch.optim.Adam([layer.relaxation.weight], lr=1e-2)
    tensors = TensorAdam([layer.relaxation.theta], irreps, lr=1e-2, penalty=0.0)
    for _ in range(steps):
        theta = layer.relaxation.theta
        loss = (layer(inputs) - change).square().mean() + 1e-4 * sum(theta[s].norm() for s in irreps.slices())
        weights.zero_grad()
        tensors.zero_grad()
        loss.backward()
        weights.step()
        tensors.step()
    theta = layer.relaxation.theta.detach()
    places = dict(zip((str(ir) for _, ir in irreps), irreps.slices(), strict=True))
    return {
        "loss": float((layer(inputs) - change).detach().square().mean()),
        "E": abs(float(functional.cosine_similarity(theta[places["1o"]], electric, dim=0))),
        "B": abs(float(functional.cosine_similarity(theta[places["1e"]], magnetic, dim=0))),
        "strengths": {str(part.irrep): part.strength for part in strengths(theta, Irreps(irreps))},
    }


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="fewer steps and one seed")
    options = parser.parse_args(argv)
    steps = 60 if options.smoke else 300
    results = {}
    for name, group, scale in (("cube", "Oh", (1.2, 1.2, 1.2)), ("prism", "D4h", (1.0, 1.0, 1.4))):
        results[name] = report_cube(name, group, cube(scale, group, steps))
    print("\ncharged particle: alignment of the learned tensors with the fields")
    results["charge"] = [charge(500 if options.smoke else 2000, seed) for seed in ((0,) if options.smoke else (0, 1, 2))]
    for seed, found in enumerate(results["charge"]):
        kept = ", ".join(f"{ir} {s:.3f}" for ir, s in found["strengths"].items())
        print(
            f"  fields {seed}: |cos(1o, E)| = {found['E']:.5f}, |cos(1e, B)| = {found['B']:.5f}, loss {found['loss']:.1e}; {kept}"
        )
    return results


if __name__ == "__main__":
    main()
