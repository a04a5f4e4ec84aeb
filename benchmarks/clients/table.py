"""The clients: where they are, and the sign convention that they were written for."""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple


class Client(NamedTuple):
    """The environment variable with the interpreter, the module that must be there, and the convention."""

    variable: str
    module: str
    convention: str


CLIENTS = {
    "nequip": Client("TESSERAL_CLIENT_NEQUIP", "nequip", "0.6"),
    "mace": Client("TESSERAL_CLIENT_MACE", "mace", "0.4"),
    "allegro": Client("TESSERAL_CLIENT_ALLEGRO", "allegro", "0.6"),
    "sevenn": Client("TESSERAL_CLIENT_SEVENN", "sevenn", "0.6"),
    "e3tools": Client("TESSERAL_CLIENT_E3TOOLS", "e3tools", "0.6"),
}


def interpreter(name: str) -> str:
    """The interpreter of a client. Raises ``FileNotFoundError`` with what to set where it is not at hand."""
    client = CLIENTS[name]
    python = os.environ.get(client.variable)
    if not python:
        raise FileNotFoundError(
            f"{client.variable} is not set: give it the python of an environment with {name}, e3nn, jaxtyping"
        )
    code = f"import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in ('{client.module}', 'e3nn', 'jaxtyping')))"
    if subprocess.run([python, "-c", code], capture_output=True, check=False).returncode:
        raise FileNotFoundError(f"{python} ({client.variable}) lacks {client.module}, e3nn or jaxtyping")
    return python
