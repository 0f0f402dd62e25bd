"""A plan knows what is expensive."""

from app.estimates import stages_of
from winnow.spec import EncoderSpec, RandomSelection, Target


def embedding(encoder=None, source_type="folder"):
    selection = RandomSelection(method="random", target=Target(count=3))
    stages = stages_of(selection, {"items": 1000}, source_type, EncoderSpec(name=encoder) if encoder else None)
    return next(stage for stage in stages if stage["name"] == "embedding")


def test_a_backbone_costs_what_its_network_multiplies():
    plain, small, large = embedding(), embedding("torchvision/resnet18"), embedding("torchvision/resnet101")
    assert plain["estimated_seconds"] < small["estimated_seconds"] / 5 < large["estimated_seconds"] / 5
    assert plain["peak_memory_bytes"] < small["peak_memory_bytes"] < large["peak_memory_bytes"]
    assert plain == embedding("winnow-64")


def test_vectors_that_are_given_cost_nothing():
    assert embedding("given", "vectors")["estimated_seconds"] == 0
