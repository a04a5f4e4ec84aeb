"""Euclidean neural networks: features are geometric tensors, layers commute with rotations, reflections and translations."""


def __getattr__(name: str) -> str:
    if name == "__version__":  # looked up when asked for: nobody else pays for it
        from importlib.metadata import version

        return version("tesseral")
    raise AttributeError(f"module 'tesseral' has no attribute {name!r}")
