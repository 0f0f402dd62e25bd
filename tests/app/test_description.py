"""The API describes itself truly: its examples are what it takes and what it gives."""

import pytest
from pydantic import TypeAdapter

from app.schemas import EmbedRequest, JobRequest
from winnow.spec import DatasetSpec

MODELS = {
    ("post", "/v1/jobs"): JobRequest,
    ("post", "/v1/embeddings"): EmbedRequest,
    ("post", "/v1/datasets"): DatasetSpec,
}


def described(api):
    return api.http.get("/openapi.json").json()


def example_of(api, method, path, status):
    (content,) = described(api)["paths"][path][method]["responses"][status]["content"].values()
    return content["example"]


def assert_alike(example, real):
    """The description leaves null fields out."""
    assert {name for name, value in real.items() if value is not None} <= example.keys() <= real.keys()


@pytest.mark.parametrize(("method", "path"), MODELS)
def test_a_described_request_is_one_the_service_takes(api, method, path):
    document = described(api)
    body = document["paths"][path][method]["requestBody"]["content"]["application/json"]
    name = body["schema"]["$ref"].rsplit("/", 1)[1]
    examples = document["components"]["schemas"][name]["examples"]
    assert examples
    for example in examples:
        TypeAdapter(MODELS[method, path]).validate_python(example)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("post", "/v1/jobs", "202"), ("get", "/v1/jobs/{job_id}", "200")],
)
def test_a_described_job_has_the_fields_of_a_real_one(api, root, method, path, status):
    assert_alike(example_of(api, method, path, status), api.submit(root).json())


def test_a_described_dataset_has_the_fields_of_a_real_one(api, root):
    made = api.http.post("/v1/datasets", json={"name": "yard", "source": {"type": "folder", "path": str(root)}})
    assert_alike(example_of(api, "post", "/v1/datasets", "202"), made.json())
    seen = api.http.get(made.headers["Location"])
    assert_alike(example_of(api, "get", "/v1/datasets/{dataset_id}", "200"), seen.json())


def test_every_call_says_what_a_refusal_looks_like(api):
    for path, calls in described(api)["paths"].items():
        for method, call in calls.items():
            if path.startswith("/v1/"):
                assert "4XX" in call["responses"], f"{method} {path}"


def test_the_key_is_described_as_a_bearer(api):
    schemes = described(api)["components"]["securitySchemes"].values()
    assert [(scheme["type"], scheme["scheme"]) for scheme in schemes] == [("http", "bearer")]
