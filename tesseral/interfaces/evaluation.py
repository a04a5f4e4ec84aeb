"""``tesseral evaluate``: errors of a model on labelled files, how well its uncertainty foresees them, and a page about both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from tesseral.interfaces.console import say_errors
from tesseral.interfaces.training import check_elements, evaluate_frames, read_labelled, require_labels
from tesseral.interfaces.uncertainty import assess, compare, say_uncertainty, stored
from tesseral.models.files import Metadata
from tesseral.train.checkpoints import write_atomically
from tesseral.train.figures import calibration
from tesseral.train.prediction import Predictions, tables
from tesseral.train.report import Report, installed_versions, write_report


def evaluate_files(
    model: torch.nn.Module,
    metadata: Metadata,
    paths: Sequence[Path],
    *,
    keys: str = "{}",
    units: str = "{}",
    uncertainty: bool = True,
    output: Path | None = None,
    report: Path | None = None,
) -> dict[str, Any]:
    """Print the tables of every file; write them as JSON to ``output``, and with figures as a page to ``report``.

    Returns the tables by file, the uncertainty's among them where the model has one. Raises ``DataError`` for a file without
    labels, or with an element that the model does not know.
    """
    console, layer = Console(), stored(metadata) if uncertainty else None
    predictions: dict[str, Predictions] = {}
    confidence: dict[str, Any] = {}
    for path in paths:
        alone = sum(other.name == path.name for other in paths) == 1
        title = path.name if alone else str(path)
        labelled = read_labelled(path, keys, units)
        check_elements(model, labelled)
        require_labels(labelled, keys)
        predictions[title] = evaluate_frames(model, labelled, metadata.cutoff, show_progress=True)
        if layer is not None:
            confidence[title] = assess(model, layer, labelled, metadata.cutoff, predictions[title])
    errors = {title: tables(predicted) for title, predicted in predictions.items()}
    say_errors(console, errors)
    if confidence:
        compare(confidence)
        say_uncertainty(console, confidence)
        for title, result in confidence.items():
            errors[title]["uncertainty"] = result
    if output is not None:
        write_atomically(output, json.dumps(errors, indent=1).encode())
    if report is not None:
        write_report(_page(metadata, predictions, confidence), report)
    return errors


def _page(metadata: Metadata, predictions: Mapping[str, Predictions], confidence: Mapping[str, Mapping[str, Any]]) -> Report:
    kind = str(metadata.settings.get("name", "potential"))
    facts = {
        "model": f"{kind}, cutoff {metadata.cutoff} Å",
        "labels of its training": metadata.level_of_theory or "level of theory not given",
        "uncertainty": "" if confidence else "none in the model file, or not asked for",
    }
    for title, result in confidence.items():
        if "auroc" in result.get("forces", {}):
            facts[f"{title}: AUROC"] = f"{result['forces']['auroc']:.3f} for the atoms of the 5 % largest force errors"
        if "auroc_against_first" in result:
            facts[f"{title}: AUROC "] = f"{result['auroc_against_first']:.3f} for telling its frames from those of the first file"
    figure = calibration(confidence)
    return Report(
        title=f"Evaluation of {kind}",
        subtitle=metadata.level_of_theory,
        facts={name: fact for name, fact in facts.items() if fact},
        predictions=predictions,
        leading={"Uncertainty": figure} if figure else {},
        versions=installed_versions(),
    )
