"""What may be asked for: methods, encoders, insights, generated from the spec."""

from collections.abc import Mapping
from typing import Any, Final, get_args

from fastapi import APIRouter

from app import examples
from app.deps import Reader
from winnow.spec import (
    AdjacencySelection,
    CoresetSelection,
    EncoderSpec,
    InsightName,
    JobSpec,
    RandomSelection,
    Spec,
)

router = APIRouter(prefix="/v1", tags=["catalogue"], responses=examples.REFUSALS)

_METHODS: Final[Mapping[str, type[Spec]]] = {
    "coreset": CoresetSelection,
    "adjacency": AdjacencySelection,
    "random": RandomSelection,
}
# A copy of what the encoders say of themselves, since importing them may load a whole framework; a test compares.
_ENCODERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "winnow-64": {
        "version": "1",
        "dimension": 64,
        "licence": "Apache-2.0",
        "summary": "A small network that knows what pictures show; its weights ship with the package.",
    },
    "descriptor-64": {
        "version": "1",
        "dimension": 64,
        "licence": "Apache-2.0",
        "summary": "Colour layout and edge directions; no weights, no download; finds bursts and near-duplicates.",
    },
    "given": {
        "version": "1",
        "dimension": None,
        "licence": "that of the dataset",
        "summary": "The vectors of the dataset, as they are.",
    },
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
def list_encoders(_: Reader) -> dict[str, Any]:
    """Every encoder, with the JSON Schema of the `encoder` object."""
    schema = EncoderSpec.model_json_schema()
    return {"items": [{"name": name, **facts, "schema": schema} for name, facts in _ENCODERS.items()]}


@router.get("/insights")
def list_insights(_: Reader) -> dict[str, Any]:
    """Every insight a job may be asked for, with the JSON Schema of the `insights` list."""
    schema = JobSpec.model_json_schema()["properties"]["insights"]
    return {"items": [{"name": name, "summary": _INSIGHTS[name], "schema": schema} for name in get_args(InsightName)]}


def _item(name: str, summary: str, model: type[Spec]) -> dict[str, Any]:
    return {"name": name, "summary": summary, "schema": model.model_json_schema()}


def _summary(model: type[Spec]) -> str:
    return (model.__doc__ or "").strip()
