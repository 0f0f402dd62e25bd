"""What may be asked for: methods, encoders, insights, generated from the spec."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from fastapi import APIRouter

from app import examples
from app.deps import PartsDep, Reader
from winnow.encoders import ENCODERS, Entry
from winnow.spec import (
    AdjacencySelection,
    CoresetSelection,
    EncoderSpec,
    InsightName,
    JobSpec,
    RandomSelection,
    Spec,
)
from winnow.weights import missing_modules, present

router = APIRouter(prefix="/v1", tags=["catalogue"], responses=examples.REFUSALS)

_METHODS: Final[Mapping[str, type[Spec]]] = {
    "coreset": CoresetSelection,
    "adjacency": AdjacencySelection,
    "random": RandomSelection,
}
_INSIGHTS: Final[Mapping[str, str]] = {
    "curve": "How far the farthest and the mean sample are from a kept one, for every budget.",
    "histograms": "Distances to the nearest kept sample, before and after.",
    "map": "The embedding in two dimensions, kept samples over the others.",
    "neighbours": "Kept samples with the nearest ones they made unnecessary.",
    "balance": "Samples of each label, all and kept; for datasets with labels.",
    "encoder": "What the vectors know of the labels: neighbours, linear probe, few labels.",
    "backtest": "A classifier trained on kept samples against one trained on random ones.",
}


@router.get("/methods")
def list_methods(_: Reader) -> dict[str, Any]:
    """Every selection method, with the JSON Schema of its `selection` object."""
    return {"items": [_item(name, _summary(model), model) for name, model in _METHODS.items()]}


@router.get("/encoders")
def list_encoders(_: Reader, parts: PartsDep) -> dict[str, Any]:
    """Every encoder, with the JSON Schema of the `encoder` object.

    `installed` and `weights_present` are told from where the API runs; a worker on another machine may have others.
    """
    schema = EncoderSpec.model_json_schema()
    return {"items": [{**_encoder(entry, parts.settings.weights_dir), "schema": schema} for entry in ENCODERS.values()]}


@router.get("/insights")
def list_insights(_: Reader) -> dict[str, Any]:
    """Every insight a job may be asked for, with the JSON Schema of the `insights` list."""
    schema = JobSpec.model_json_schema()["properties"]["insights"]
    return {"items": [{"name": name, "summary": _INSIGHTS[name], "schema": schema} for name in get_args(InsightName)]}


def _encoder(entry: Entry, weights_dir: Path | None) -> dict[str, Any]:
    published = entry.weights
    return {
        "name": entry.name,
        "version": entry.version,
        "dimension": entry.dimension or None,
        "width": entry.width or None,
        "licence": entry.licence,
        "summary": entry.summary,
        "preprocessing": _preprocessing(entry),
        "weights": {"url": published.url, "sha256": published.sha256} if published else None,
        "extra": entry.extra or None,
        "installed": not missing_modules(entry),
        "weights_present": published is None or present(entry, weights_dir),
    }


def _preprocessing(entry: Entry) -> dict[str, Any] | None:
    if not entry.size:
        return None
    how = {"size": entry.size, "shorter": entry.shorter or None, "resample": entry.resample}
    return how | ({"mean": entry.mean, "std": entry.std} if entry.weights else {})


def _item(name: str, summary: str, model: type[Spec]) -> dict[str, Any]:
    return {"name": name, "summary": summary, "schema": model.model_json_schema()}


def _summary(model: type[Spec]) -> str:
    return (model.__doc__ or "").strip()
