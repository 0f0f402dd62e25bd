"""From POST to the selected files, out of an S3 store and off a web site, over real HTTP."""

import json

import pytest
from winnow_client import Client

TEN = {"method": "coreset", "target": {"count": 10}}
SECRETS = ("canary-s3-secret-4f1d", "AKIACANARYCANARYCANA")


@pytest.fixture
def lake(bucket, tmp_path, pictures):
    """The pictures in a bucket, and the administrator's file that names it."""
    files = [path for path in pictures.rglob("*") if path.is_file()]
    bucket.put({f"yard/{path.relative_to(pictures)}": path.read_bytes() for path in files})
    file = tmp_path / "connections.toml"
    table = bucket.table(tenants=["local"])
    file.write_text("[lake]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items()))
    return file


def test_an_object_store_becomes_a_list_and_the_selected_files(start_service, lake, pictures, tmp_path):
    target = tmp_path / "to-label"
    source = {"type": "object_store", "connection": "lake", "prefix": "yard/"}
    with start_service(tmp_path, WINNOW_CONNECTIONS=str(lake)) as service:
        job = service.filter(source, TEN, output={"path": str(target)})
        assert job["state"] == "succeeded", job
        assert job["counts"] == {"input": 65, "valid": 62, "exact_duplicates": 2, "selected": 10, "quarantined": 3}
        kept = service.paths(job)
        dataset = service.http.get(f"/v1/datasets/{job['dataset_id']}").json()
        manifest = service.http.get(f"/v1/jobs/{job['id']}/manifest").text
    assert dataset["source"] == source
    for path in kept:
        assert (target / path).read_bytes() == (pictures / path).read_bytes()
    logs = [(tmp_path / f"{name}.log").read_text() for name in ("app", "worker")]
    assert not [secret for secret in SECRETS for text in (*logs, manifest, str(job), str(dataset)) if secret in text]


def test_a_store_that_refuses_its_credentials_fails_the_job_with_a_word(start_service, lake, bucket, tmp_path):
    bucket.server.trouble(all="InvalidAccessKeyId")
    with start_service(tmp_path, WINNOW_CONNECTIONS=str(lake)) as service:
        job = service.filter({"type": "object_store", "connection": "lake"}, TEN)
    assert (job["state"], job["error"]["code"]) == ("failed", "STORE_REFUSED")
    assert bucket.name not in str(job["error"])


def test_a_list_of_urls_becomes_a_list_and_the_selected_files(start_service, site, pictures, tmp_path):
    paths = {f"/{path.relative_to(pictures)}": path for path in pictures.rglob("*.png") if path.stat().st_size > 60}
    site.pages = {name: path.read_bytes() for name, path in paths.items()}
    target, urls = tmp_path / "to-label", [site.url + name for name in paths]
    settings = {"WINNOW_ALLOW_URLS": "true", "WINNOW_PRIVATE_URL_HOSTS": f"127.0.0.1:{site.port}"}
    with start_service(tmp_path, **settings) as service, Client(str(service.http.base_url)) as client:
        job = client.submit_urls([*urls, f"{site.url}/none.png"], count=10, output={"path": str(target)})
        job = client.wait(job["id"], timeout_s=60)
        assert job["counts"] == {"input": 63, "valid": 62, "exact_duplicates": 2, "selected": 10, "quarantined": 1}
        kept = service.paths(job)
        quarantine = list(client.quarantine(job["id"]))
        from_folder = service.filter({"type": "folder", "path": str(pictures)}, TEN)
    assert [(row["path"], row["code"]) for row in quarantine] == [("127.0.0.1/none.png", "FETCH_FAILED")]
    assert job["digests"]["selection"] == from_folder["digests"]["selection"]
    for path in kept:
        assert (target / path).read_bytes() == (pictures / path.removeprefix("127.0.0.1/")).read_bytes()
