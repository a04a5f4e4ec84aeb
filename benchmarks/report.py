"""A table in Markdown from the record of one suite."""

from __future__ import annotations

EXTRAS = {"times_roofline": "roofline", "extra_memory": "memory", "first_call_s": "first call, s", "error": "error"}


def table(record: dict) -> str:
    """One section: title, note, machine, a row per measurement.

    >>> row = {"problem": "small", "mode": "forward", "tesseral": {"ms": 1.5, "ratio": 1.0}, "e3nn": {"ms": 30.0, "ratio": 20.0}}
    >>> print(table({"title": "T", "note": "N", "machine": None, "left_out": [], "versions": {"e3nn": "0.6.0"}, "rows": [row]}))
    ## T
    <BLANKLINE>
    N
    <BLANKLINE>
    | problem | mode | ms | e3nn 0.6.0 |
    |---|---|---:|---:|
    | small | forward | 1.50 | 20.0× |
    <BLANKLINE>
    """
    rows, versions = record["rows"], record["versions"] | dict.fromkeys(record.get("variants", {}))
    labels = {peer: f"{peer} {of}" for peer, of in versions.items() if of} | record.get("variants", {})
    peers = [peer for peer in versions if any(peer in row for row in rows)]
    extras = [key for key in EXTRAS if any(row.get(key) is not None for row in rows)]
    head = ["problem", "mode", "ms", *(labels.get(peer, peer) for peer in peers), *(EXTRAS[key] for key in extras)]
    lines = [f"## {record['title']}", "", record["note"], ""]
    if record["machine"]:
        lines += [_machine(record), ""]
    lines += record["left_out"] + ([""] if record["left_out"] else [])
    if rows:
        lines += [_line(head), "|" + "|".join(["---"] * 2 + ["---:"] * (len(head) - 2)) + "|"]
        lines += [_line(_cells(row, peers, extras)) for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: dict, peers: list[str], extras: list[str]) -> list[str]:
    cells = [row["problem"], row["mode"], _number(row["tesseral"]["ms"])]
    cells += [_number(row[peer]["ratio"]) + "×" if peer in row else "" for peer in peers]
    for key in extras:
        value = row.get(key)
        if value is not None and key == "error":
            cells.append(f"{value:.1e}")
            continue
        cells.append("" if value is None else _number(value) + ("×" if key != "first_call_s" else ""))
    return cells


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    return (
        f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _machine(record: dict) -> str:
    m = record["machine"]
    return (
        f"{m['processor']}, {m['threads']} threads; triad {m['triad_GB_per_s']:.1f} GB/s, matrix product "
        f"{m['float32_GFLOP_per_s']:.0f} GFLOP/s (float32), {m['float64_GFLOP_per_s']:.0f} (float64); "
        f"{record['date']}{', quick' if record['quick'] else ''}."
    )
