"""What may be asked for: methods, encoders, insights, generated from the spec."""

from typing import Any, get_args

from fastapi import APIRouter

from app.deps import Reader
from winnow.embeddings import ENCODERS
from winnow.spec import AdjacencySelection, CoresetSelection, InsightName, RandomSelection, Spec

router = APIRouter(prefix="/v1", tags=["catalogue"])

_METHODS: dict[str, type[Spec]] = {
    "coreset": CoresetSelection,
    "adjacency": AdjacencySelection,
    "random": RandomSelection,
}


@router.get("/methods")
def list_methods(_: Reader) -> dict[str, Any]:
    return {
        "items": [
            {"name": name, "summary": (model.__doc__ or "").strip(), "schema": model.model_json_schema()}
            for name, model in _METHODS.items()
        ]
    }


@router.get("/encoders")
def list_encoders(_: Reader) -> dict[str, Any]:
    return {
        "items": [
            {"name": one.name, "version": one.version, "dimension": one.dimension or None, "summary": one.summary}
            for one in ENCODERS.values()
        ]
    }


@router.get("/insights")
def list_insights(_: Reader) -> dict[str, Any]:
    return {"items": [{"name": name} for name in get_args(InsightName)]}
