"""Mistakes in the settings of architectures and optimizers."""

from __future__ import annotations

from bad_input_table import Bench, Outcome, case

BUILT = ("mace", "allegro", "equiformer_v2")


@case("train", "a model section without a name", "refuses", "model.name", "nequip", "mace")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz}\nmodel: {cutoff: 3.0}\n")
    return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "a misspelt architecture (nequipp)", "refuses", "nequipp", "did you mean 'nequip'")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.name=nequipp")


for _name in BUILT:

    @case("train", f"settings of nequip for {_name}", "refuses", "unknown key", "model")
    def _(bench: Bench, name: str = _name) -> Outcome:
        bench.settings(f"data: {{train: good.xyz}}\nmodel: {{name: {name}, cutoff: 3.0, radial_chanels: 4}}\n")
        return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "radial_knots -5", "refuses", "radial_knots", "-5")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.radial_knots=-5")


@case("train", "radial_knots 1", "refuses", "radial_knots", "1")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.radial_knots=1")


@case("train", "a misspelt optimizer (mun)", "refuses", "mun", "did you mean 'muon'")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.name=mun")


@case("train", "muon with a negative rate", "refuses", r"optimizer\.lr", "-1")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.name=muon", "optimizer.lr=-1")


@case("train", "mace with correlation 0", "refuses", "correlation", "0")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz}\nmodel: {name: mace, cutoff: 3.0, correlation: 0}\n")
    return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "mace with a hidden that is no irreps", "refuses", "hidden", "16x")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz}\nmodel: {name: mace, cutoff: 3.0, hidden: 16x0e+16x}\n")
    return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "equiformer_v2 with mmax larger than lmax", "refuses", "mmax", "lmax")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz}\nmodel: {name: equiformer_v2, cutoff: 3.0, lmax: 1, mmax: 3}\n")
    return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "another run goes on in the folder", "refuses", "run", "in use|another")
def _(bench: Bench) -> Outcome:
    import fcntl

    with (bench / "run/run.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return bench.run("train", "settings.yaml", "-o", "run", "--resume")
