"""The data doctor: what is wrong with a data set, in sentences that name the file, the frame, the key and the cure.

======================== ==================================================================
``complaint``            what it says, what it is told beforehand
``labels``               are they there, finite, of the right shape, not all zero?
``structure``            are the structures possible, distinct and connected?
``composition``          do energies fit the compositions, and species the geometry?
``mechanics``            do energies, forces and stresses obey mechanics?
``responses``            do Born charges obey their sum rules, and dipoles mean anything?
``examination``          :func:`examine` frames, :func:`diagnose` files
======================== ==================================================================
"""

from tesseral.data.doctor.complaint import Complaint, DoctorSettings
from tesseral.data.doctor.examination import diagnose, examine

__all__ = ["Complaint", "DoctorSettings", "diagnose", "examine"]
