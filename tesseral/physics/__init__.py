"""Whatever is derived from an energy; a model comes in as a callable ``model(graph) -> energies``.

| file | idea |
|---|---|
| forces | forces, stress and virial |
| hessian | second derivatives: products with vectors, the matrix, its sum rule |
| receptive_field | how far information travels in a model, measured |
| unroll | a cell and its images as the atoms of a cluster |
| force_constants | force constants from one cell, dynamical matrices at any wave vector |
| phonons | the door to phonopy: standard cells and paths, folded supercells |
| grueneisen | how frequencies answer to compression |
| sparse_hessian | Hessians of large structures, probes sharing a pass |
| third_order | third derivatives |
| elasticity | elastic constants with the atoms clamped and relaxed |
| moduli | what elastic constants mean: polycrystals, stability, sound |
| eos | equations of state |
| vibrations | frequencies and normal modes |
| normal_modes | normal modes by irreps of the point group, activities, infrared and Raman intensities |
| spectra | lines with a width, spectra of trajectories |
| electric | responses to a field: dipole, polarizability, Born charges |
| selftest | symmetry, derivatives, smoothness, extensivity and conservation, measured on one model |
| dynamics | molecular dynamics with ASE: trajectories that survive a kill, explosions that are named, drift |
| trajectory | frames that are appended whole and read back after a kill |
| relaxation | minima of structures and cells with ASE |
"""
