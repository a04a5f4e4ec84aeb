"""Whatever is derived from an energy; a model comes in as a callable ``model(graph) -> energies``.

| file | idea |
|---|---|
| forces | forces, stress and virial |
| hessian | second derivatives: products with vectors, the matrix, its sum rule |
| vibrations | frequencies and normal modes |
"""
