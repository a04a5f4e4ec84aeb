"""e3nn's switches of its code generator: kept, with the rules between them, and without effect: nothing is generated here.

``specialized_code`` alone is read: it decides which ``_w3j_*`` buffers a product has in its state dict.
"""

_settings: dict = {"specialized_code": True, "optimize_einsums": True, "jit_script_fx": True, "jit_mode": "eager"}
_MODES = ("script", "inductor", "eager")


def set_optimization_defaults(**kwargs: object) -> None:
    """Change some of the settings. Raises ``ValueError`` for an unknown name.

    >>> set_optimization_defaults(jit_mode="eager")
    """
    for name, value in kwargs.items():
        if name not in _settings:
            raise ValueError(f"Unknown optimization option: {name}; expected one of {', '.join(_settings)}")
        if name == "jit_mode" and value not in _MODES:
            raise AssertionError(f"Invalid jit_mode: {value!r}; expected one of {', '.join(_MODES)}")
        if name == "jit_script_fx":
            _settings["jit_mode"] = _mode_after(bool(value), _settings["jit_mode"])
        _settings[name] = value


def get_optimization_defaults() -> dict:
    """A copy of the settings."""
    return dict(_settings)


def _mode_after(script: bool, mode: str) -> str:
    if not script:
        return "eager"
    return mode if mode in ("script", "inductor") else "script"
