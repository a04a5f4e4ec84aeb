"""Whatever is derived from an energy; a model comes in as a callable ``model(graph) -> energies``.

| file | idea |
|---|---|
| forces | forces, stress and virial |
"""
