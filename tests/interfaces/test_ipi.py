"""The i-PI protocol, through ASE's socket client: a server that knows nothing of the model gets its energies and forces."""

import threading
import uuid

import numpy as np
import pytest
from ase.calculators.socketio import SocketClient, SocketIOCalculator
from ase.optimize import BFGS

from tesseral.interfaces.ase import Calculator
from tests.physics.test_forces import molecule, oxide
from tests.physics.toys import ManyBody


def serve(atoms, use):
    """Run ``use(atoms)`` with a calculator whose energies come over a Unix socket from a client with the model."""
    name = f"tesseral-{uuid.uuid4().hex[:8]}"
    client_atoms = atoms.copy()
    client_atoms.calc = Calculator(ManyBody())
    with SocketIOCalculator(unixsocket=name, timeout=30) as server:
        thread = threading.Thread(
            target=lambda: SocketClient(unixsocket=name, timeout=30).run(client_atoms, use_stress=bool(atoms.pbc.any()))
        )
        thread.start()
        atoms.calc = server
        result = use(atoms)
    thread.join(30)
    assert not thread.is_alive()
    return result


@pytest.mark.parametrize("make", [molecule, oxide])
def test_energies_forces_and_stress_over_a_socket(make):
    atoms, here = make(), make()
    here.calc = Calculator(ManyBody())
    # The protocol has a stress for crystals only; ASE's server asks for all of it at once.
    energy, forces = serve(atoms, lambda a: (a.get_potential_energy(), a.get_forces()))
    assert energy == pytest.approx(here.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(forces, here.get_forces(), atol=1e-9)


def test_a_relaxation_driven_from_outside():
    assert serve(molecule(), lambda atoms: BFGS(atoms, logfile=None).run(fmax=0.05, steps=200))
