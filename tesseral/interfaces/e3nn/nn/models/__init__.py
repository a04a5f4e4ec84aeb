"""e3nn's example networks, by the months in which they were written: the same weights, state dicts and numbers.

None of them needs torch-scatter or torch-cluster here, as some of e3nn's do.
"""
