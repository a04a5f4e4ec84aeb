"""Whatever is derived from an energy; a model comes in as a callable ``model(graph) -> energies``.

| file | idea |
|---|---|
| forces | forces, stress and virial |
| hessian | second derivatives: products with vectors, the matrix, its sum rule |
| vibrations | frequencies and normal modes |
| selftest | symmetry, derivatives, smoothness, extensivity and conservation, measured on one model |
| dynamics | molecular dynamics with ASE: trajectories that survive a kill, explosions that are named, drift |
| trajectory | frames that are appended whole and read back after a kill |
| relaxation | minima of structures and cells with ASE |
"""
