"""Character tables in the form of textbooks (Cotton, Chemical Applications of Group Theory), conjugate pairs of irreps added up.

They were typed; test_tables_elsewhere.py compares with tables that were not.

Groups with an inversion or an odd prism's horizontal mirror are printed as direct products, and given as such here.
"""

PHI = (1 + 5**0.5) / 2

FOURFOLD = {
    "A1": [1, 1, 1, 1, 1],
    "A2": [1, 1, 1, -1, -1],
    "B1": [1, -1, 1, 1, -1],
    "B2": [1, -1, 1, -1, 1],
    "E": [2, 0, -2, 0, 0],
}
THREEFOLD = {"A1": [1, 1, 1], "A2": [1, 1, -1], "E": [2, -1, 0]}
SIXFOLD = {
    "A1": [1, 1, 1, 1, 1, 1],
    "A2": [1, 1, 1, 1, -1, -1],
    "B1": [1, -1, 1, -1, 1, -1],
    "B2": [1, -1, 1, -1, -1, 1],
    "E1": [2, 1, -1, -2, 0, 0],
    "E2": [2, -1, -1, 2, 0, 0],
}
CUBIC = {
    "A1": [1, 1, 1, 1, 1],
    "A2": [1, 1, 1, -1, -1],
    "E": [2, -1, 2, 0, 0],
    "T1": [3, 0, -1, 1, -1],
    "T2": [3, 0, -1, -1, 1],
}
CYCLIC_4 = {"A": [1, 1, 1, 1], "B": [1, -1, 1, -1], "E": [2, 0, -2, 0]}

TABLES = {
    "C1": (["E"], {"A": [1]}),
    "Ci": (["E", "i"], {"Ag": [1, 1], "Au": [1, -1]}),
    "Cs": (["E", "σh"], {"A'": [1, 1], "A''": [1, -1]}),
    "C2": (["E", "C2"], {"A": [1, 1], "B": [1, -1]}),
    "D2": (
        ["E", "C2(z)", "C2(y)", "C2(x)"],
        {"A": [1, 1, 1, 1], "B1": [1, 1, -1, -1], "B2": [1, -1, 1, -1], "B3": [1, -1, -1, 1]},
    ),
    "C2v": (
        ["E", "C2", "σv(xz)", "σv(yz)"],
        {"A1": [1, 1, 1, 1], "A2": [1, 1, -1, -1], "B1": [1, -1, 1, -1], "B2": [1, -1, -1, 1]},
    ),
    "C4": (["E", "C4", "C2", "C4^3"], CYCLIC_4),
    "S4": (["E", "S4", "C2", "S4^3"], CYCLIC_4),
    "D4": (["E", "2C4", "C2", "2C2'", "2C2''"], FOURFOLD),
    "C4v": (["E", "2C4", "C2", "2σv", "2σd"], FOURFOLD),
    "D2d": (["E", "2S4", "C2", "2C2'", "2σd"], FOURFOLD),
    "C3": (["E", "C3", "C3^2"], {"A": [1, 1, 1], "E": [2, -1, -1]}),
    "D3": (["E", "2C3", "3C2'"], THREEFOLD),
    "C3v": (["E", "2C3", "3σv"], THREEFOLD),
    "C6": (
        ["E", "C6", "C3", "C2", "C3^2", "C6^5"],
        {"A": [1] * 6, "B": [1, -1, 1, -1, 1, -1], "E1": [2, 1, -1, -2, -1, 1], "E2": [2, -1, -1, 2, -1, -1]},
    ),
    "D6": (["E", "2C6", "2C3", "C2", "3C2'", "3C2''"], SIXFOLD),
    "C6v": (["E", "2C6", "2C3", "C2", "3σv", "3σd"], SIXFOLD),
    "T": (["E", "4C3", "4C3^2", "3C2"], {"A": [1, 1, 1, 1], "E": [2, -1, -1, 2], "T": [3, 0, 0, -1]}),
    "O": (["E", "8C3", "3C2", "6C4", "6C2'"], CUBIC),
    "Td": (["E", "8C3", "3C2", "6S4", "6σd"], CUBIC),
    "I": (
        ["E", "12C5", "12C5^2", "20C3", "15C2"],
        {
            "A": [1, 1, 1, 1, 1],
            "T1": [3, PHI, 1 - PHI, 0, -1],
            "T2": [3, 1 - PHI, PHI, 0, -1],
            "G": [4, -1, -1, 1, 0],
            "H": [5, 0, 0, -1, 1],
        },
    ),
    # beyond the crystallographic groups
    "D4d": (
        ["E", "2S8", "2C4", "2S8^3", "C2", "4C2'", "4σd"],
        {
            "A1": [1, 1, 1, 1, 1, 1, 1],
            "A2": [1, 1, 1, 1, 1, -1, -1],
            "B1": [1, -1, 1, -1, 1, 1, -1],
            "B2": [1, -1, 1, -1, 1, -1, 1],
            "E1": [2, 2**0.5, 0, -(2**0.5), -2, 0, 0],
            "E2": [2, 0, -2, 0, 2, 0, 0],
            "E3": [2, -(2**0.5), 0, 2**0.5, -2, 0, 0],
        },
    ),
    "C5v": (
        ["E", "2C5", "2C5^2", "5σv"],
        {"A1": [1, 1, 1, 1], "A2": [1, 1, 1, -1], "E1": [2, PHI - 1, -PHI, 0], "E2": [2, -PHI, PHI - 1, 0]},
    ),
}

PRODUCTS = {  # group: factor, the other generator
    "C2h": ("C2", "i"), "D2h": ("D2", "i"), "C4h": ("C4", "i"), "D4h": ("D4", "i"), "C3i": ("C3", "i"), "D3d": ("D3", "i"),
    "C6h": ("C6", "i"), "D6h": ("D6", "i"), "Th": ("T", "i"), "Oh": ("O", "i"), "Ih": ("I", "i"), "C3h": ("C3", "σh"),
    "D3h": ("D3", "σh"),
}  # fmt: skip

CLASS_NAMES = {  # the heads of the printed tables of these products
    "C2h": "E C2 i σh",
    "D2h": "E C2(z) C2(y) C2(x) i σ(xy) σ(xz) σ(yz)",
    "C4h": "E C4 C2 C4^3 i S4^3 σh S4",
    "D4h": "E 2C4 C2 2C2' 2C2'' i 2S4 σh 2σv 2σd",
    "C3i": "E C3 C3^2 i S6^5 S6",
    "D3d": "E 2C3 3C2' i 2S6 3σd",
    "C6h": "E C6 C3 C2 C3^2 C6^5 i S3^5 S6^5 σh S6 S3",
    "D6h": "E 2C6 2C3 C2 3C2' 3C2'' i 2S3 2S6 σh 3σd 3σv",
    "C3h": "E C3 C3^2 σh S3 S3^5",
    "D3h": "E 2C3 3C2' σh 2S3 3σv",
    "Th": "E 4C3 4C3^2 3C2 i 4S6^5 4S6 3σh",
    "Oh": "E 8C3 3C2 6C4 6C2' i 8S6 3σh 6S4 6σd",
    "Ih": "E 12C5 12C5^2 20C3 15C2 i 12S10^3 12S10 20S6 15σ",
}

# z, (x, y); Rz, (Rx, Ry); z², x²-y², xy, (xz, yz): the last columns of the printed tables
FUNCTIONS = {
    "C2v": ("A1+B1+B2", "A2+B1+B2", "2A1+A2+B1+B2"),
    "C3v": ("A1+E", "A2+E", "A1+2E"),
    "D2d": ("B2+E", "A2+E", "A1+B1+B2+E"),
    "D3h": ("A2''+E'", "A2'+E''", "A1'+E'+E''"),
    "D4h": ("A2u+Eu", "A2g+Eg", "A1g+B1g+B2g+Eg"),
    "D6h": ("A2u+E1u", "A2g+E1g", "A1g+E1g+E2g"),
    "D4d": ("B2+E1", "A2+E3", "A1+E2+E3"),
    "D5d": ("A2u+E1u", "A2g+E1g", "A1g+E1g+E2g"),
    "D5h": ("A2''+E1'", "A2'+E1''", "A1'+E1''+E2'"),
    "S4": ("B+E", "A+E", "A+2B+E"),
    "S8": ("B+E1", "A+E3", "A+E2+E3"),
    "Td": ("T2", "T1", "E+T2"),
    "Th": ("Tu", "Tg", "Eg+Tg"),
    "Oh": ("T1u", "T1g", "Eg+T2g"),
    "Ih": ("T1u", "T1g", "Hg"),
}
