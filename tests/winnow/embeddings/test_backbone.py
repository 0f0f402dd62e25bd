"""Backbones: only with the right weights, wherever they lie; a row depends on its own picture alone."""

import dataclasses
import hashlib
import io
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import numpy as np
import pytest
import seeded_weights

from winnow import weights
from winnow.embeddings import Runtime, get_encoder
from winnow.encoders import ENCODERS, Weights
from winnow.errors import InvalidRequest, MemoryLimit, WeightsMissing

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")
if find_spec("timm") is None:  # importing it here would be too early: the door is not open yet
    pytest.skip("timm is not installed (the extra `timm`)", allow_module_level=True)
import safetensors.torch  # noqa: E402 - comes with torch

from winnow.embeddings import backbone, fetch, forward  # noqa: E402 - they need torch
from winnow.embeddings.device import chosen_device, chosen_dtype  # noqa: E402

RESNET = ENCODERS["torchvision/resnet18"]
# timm's own networks for tests, each of a family that the table has.
SMALL = {
    f"timm/{model}": dataclasses.replace(
        ENCODERS["timm/convnext_tiny.fb_in22k"], name=f"timm/{model}", width=width, size=96, shorter=96
    )
    for model, width in (("test_resnet.r160_in1k", 96), ("test_convnext.r160_in1k", 64))
}
SMALL["timm/test_vit.r160_in1k"] = dataclasses.replace(
    SMALL["timm/test_convnext.r160_in1k"], name="timm/test_vit.r160_in1k", given_size=True
)


@pytest.fixture(autouse=True)
def _table(monkeypatch, tmp_path):
    """The small ones stand in the table, and no cache of this machine is looked into."""
    for name, entry in SMALL.items():
        monkeypatch.setitem(ENCODERS, name, entry)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)


def pictures(entry, count, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, entry.size, entry.size, 3), np.uint8))


def encoder(entry, folder, **runtime):
    return backbone.Backbone(entry, Runtime(weights_dir=folder, device="cpu", **runtime))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("entry", [RESNET, *SMALL.values()], ids=lambda entry: entry.name)
def test_a_row_does_not_depend_on_its_company_or_on_threads(entry, precision, tmp_path):
    seeded_weights.write(tmp_path, entry)
    ours = encoder(entry, tmp_path, precision=precision)
    some = pictures(entry, 19)
    together = ours.embed(some)
    assert (together.shape, together.dtype) == ((19, entry.width), np.float32)
    assert np.isfinite(together).all()
    assert len(np.unique(together, axis=0)) == 19
    np.testing.assert_array_equal(ours.embed(some[::-1])[::-1], together)
    np.testing.assert_array_equal(ours.embed(some[3:4]), together[3:4])
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        np.testing.assert_array_equal(ours.embed(some), together)
    torch.set_num_threads(before)
    assert ours.embed([]).shape == (0, entry.width)


@pytest.mark.parametrize("entry", [RESNET, *SMALL.values()], ids=lambda entry: entry.name)
def test_the_answer_is_that_of_the_plain_network(entry, tmp_path):
    """Folded, laid out anew and padded, it is still the publisher's network behind the publisher's preprocessing."""
    file = seeded_weights.write(tmp_path, entry)
    plain = backbone._built(entry)
    plain.load_state_dict(
        {name: held for name, held in safetensors.torch.load_file(file).items() if name in plain.state_dict()}
    )
    some = pictures(entry, 3)
    seen = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(colour)[:, None, None] for colour in (entry.mean, entry.std))
    with torch.inference_mode():
        said = plain((seen - mean) / std).numpy()
    ours = encoder(entry, tmp_path, precision="float32").embed(some)
    np.testing.assert_allclose(ours, said, rtol=1e-3, atol=1e-4 * np.abs(said).max())
    coarse = encoder(entry, tmp_path, precision="bfloat16").embed(some)
    assert np.linalg.norm(coarse - said) < 0.05 * np.linalg.norm(said)
    assert (coarse != ours).any()


def test_every_normalisation_of_a_resnet_is_folded(tmp_path):
    network = forward.fused(backbone._built(RESNET))
    assert not [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def test_the_version_says_all_that_changes_bits(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    seeded_weights.write(first, RESNET, seed=0)
    seeded_weights.write(second, RESNET, seed=1)
    plain = encoder(RESNET, first, precision="float32").version
    assert plain.startswith("IMAGENET1K_V1-")
    assert plain.endswith("-cpu-float32")
    others = [
        encoder(RESNET, first, precision="bfloat16"),
        encoder(RESNET, second, precision="float32"),
        encoder(dataclasses.replace(RESNET, shorter=232), first, precision="float32"),
    ]
    assert len({plain, *(other.version for other in others)}) == 4
    assert encoder(RESNET, first, precision="float32").version == plain


def test_without_weights_it_says_what_to_bring_where(tmp_path):
    for folder, more in ((tmp_path, ""), (None, r"\(it is not set\)")):
        with pytest.raises(WeightsMissing) as told:
            _ = encoder(RESNET, folder).version
        for part in (
            "torchvision/resnet18.safetensors",
            "torchvision/resnet18.safetensors.sha256",
            "WINNOW_WEIGHTS_DIR",
            "winnow encoders fetch torchvision/resnet18",
            "WINNOW_ALLOW_DOWNLOADS",
        ):
            assert part in told.value.detail
        assert told.match(more)
    with pytest.raises(WeightsMissing):
        encoder(RESNET, tmp_path).embed(pictures(RESNET, 1))


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None if name == "timm" else True)
    get_encoder.cache_clear()
    with pytest.raises(WeightsMissing, match=r"needs timm; install winnow\[timm\]"):
        get_encoder("timm/convnext_tiny.fb_in22k")


def test_damaged_or_unsigned_or_foreign_weights_are_refused(tmp_path):
    file = seeded_weights.write(tmp_path, RESNET)
    note = file.with_name(f"{file.name}.sha256")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsMissing, match="damaged"):
        _ = encoder(RESNET, tmp_path).version
    note.unlink()
    with pytest.raises(WeightsMissing, match=r"needs its sha256 in resnet18\.safetensors\.sha256"):
        _ = encoder(RESNET, tmp_path).version
    for content in (b"not weights at all", safetensors.torch.save({"conv1.weight": torch.ones(3)})):
        file.write_bytes(content)
        note.write_text(hashlib.sha256(content).hexdigest())
        with pytest.raises(WeightsMissing, match=r"no weights that can be read|not the weights of"):
            _ = encoder(RESNET, tmp_path).version


@pytest.mark.parametrize("entry", [RESNET, *SMALL.values()], ids=lambda entry: entry.name)
def test_no_weight_is_ever_left_to_chance(entry, tmp_path):
    tensors = seeded_weights.seeded(entry)
    del tensors[next(name for name in tensors if name.endswith("weight") and not name.startswith(("fc", "head")))]
    file = weights.file_in(tmp_path, entry)
    file.parent.mkdir(parents=True)
    content = safetensors.torch.save(tensors)
    file.write_bytes(content)
    file.with_name(f"{file.name}.sha256").write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(WeightsMissing, match=r"not the weights of .* Missing key"):
        _ = encoder(entry, tmp_path).version


def test_counters_that_old_files_lack_are_no_weights(tmp_path):
    tensors = {name: held for name, held in seeded_weights.seeded(RESNET).items() if "num_batches" not in name}
    network = backbone._with(RESNET, backbone._built(RESNET), tensors)
    assert torch.equal(network.conv1.weight, tensors["conv1.weight"])


def test_a_transformer_made_for_larger_pictures_looks_at_smaller_ones(tmp_path):
    entry = SMALL["timm/test_vit.r160_in1k"]
    seeded_weights.write(tmp_path, dataclasses.replace(entry, size=160))
    rows = encoder(entry, tmp_path).embed(pictures(entry, 3))
    assert rows.shape == (3, 64)
    assert np.isfinite(rows).all()


def test_what_torchvision_left_in_its_cache_is_used_if_its_name_tells_the_truth(tmp_path):
    tensors = seeded_weights.seeded(RESNET)
    packed = io.BytesIO()
    torch.save(tensors, packed)
    digits = hashlib.sha256(packed.getvalue()).hexdigest()[:8]
    entry = dataclasses.replace(RESNET, weights=Weights(f"https://nowhere.invalid/resnet18-{digits}.pth", digits))
    file = tmp_path / "cache" / "torch" / "hub" / "checkpoints" / f"resnet18-{digits}.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(packed.getvalue())
    seeded_weights.write(tmp_path / "brought", RESNET)
    assert encoder(entry, None).version == encoder(RESNET, tmp_path / "brought").version  # packed as it may be
    file.write_bytes(packed.getvalue() + b"!")
    with pytest.raises(WeightsMissing, match="damaged"):
        _ = encoder(entry, None).version


class Wicked:
    def __reduce__(self):
        return (pytest.fail, ("a pickle ran",))


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    content = pickle.dumps({"conv1.weight": Wicked()})
    digits = hashlib.sha256(content).hexdigest()[:8]
    entry = dataclasses.replace(RESNET, weights=Weights(f"https://nowhere.invalid/resnet18-{digits}.pth", digits))
    file = tmp_path / "cache" / "torch" / "hub" / "checkpoints" / f"resnet18-{digits}.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(WeightsMissing, match="no weights that can be read"):
        _ = encoder(entry, None).version


def test_what_the_hub_left_in_its_cache_is_used_if_its_name_tells_the_truth(tmp_path):
    entry = SMALL["timm/test_resnet.r160_in1k"]
    content = safetensors.torch.save(seeded_weights.seeded(entry))
    entry = dataclasses.replace(
        entry, weights=Weights("https://hub.invalid/timm/its-name/resolve/main/model.safetensors")
    )
    kept = tmp_path / "cache" / "huggingface" / "hub" / "models--timm--its-name"
    blob = kept / "blobs" / hashlib.sha256(content).hexdigest()
    snapshot = kept / "snapshots" / "abc"
    for folder in (blob.parent, snapshot, kept / "refs"):
        folder.mkdir(parents=True)
    blob.write_bytes(content)
    (kept / "refs" / "main").write_text("abc")
    (snapshot / "model.safetensors").symlink_to(blob)
    assert weights.present(entry, None)
    assert encoder(entry, None).embed(pictures(entry, 2)).shape == (2, 96)
    blob.write_bytes(content[:-1])
    with pytest.raises(WeightsMissing, match="damaged"):
        _ = encoder(entry, None).version


@pytest.fixture
def publisher():
    """A server that publishes bytes as torchvision's and the hub do; says what it was asked."""
    held, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(("HEAD", self.path))
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.send_header("X-Linked-ETag", f'"{held.get("told") or hashlib.sha256(held["content"]).hexdigest()}"')
            self.end_headers()

        def do_GET(self):
            asked.append(("GET", self.path))
            self.send_response(200)
            self.send_header("Content-Length", str(len(held["content"])))
            self.end_headers()
            self.wfile.write(held["content"])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    held["url"], held["asked"] = f"http://127.0.0.1:{server.server_port}", asked
    yield held
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetched_from_torchvision_a_pickle_becomes_safetensors_that_a_job_finds(publisher, tmp_path):
    packed = io.BytesIO()
    torch.save(seeded_weights.seeded(RESNET), packed)
    publisher["content"] = packed.getvalue()
    digits = hashlib.sha256(packed.getvalue()).hexdigest()[:8]
    entry = dataclasses.replace(RESNET, weights=Weights(f"{publisher['url']}/resnet18-{digits}.pth", digits))
    file = fetch.fetch(entry, tmp_path)
    assert file == tmp_path / "torchvision" / "resnet18.safetensors"
    assert encoder(entry, tmp_path).embed(pictures(entry, 1)).shape == (1, 512)
    assert fetch.fetch(entry, tmp_path) == file
    assert publisher["asked"] == [("GET", f"/resnet18-{digits}.pth")]
    wrong = dataclasses.replace(entry, weights=Weights(f"{publisher['url']}/resnet18-00000000.pth", "00000000"))
    with pytest.raises(WeightsMissing, match="not what was published"):
        fetch.fetch(wrong, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_fetched_from_the_hub_the_file_is_held_against_what_the_hub_says_of_it(publisher, tmp_path):
    publisher["content"] = safetensors.torch.save(seeded_weights.seeded(SMALL["timm/test_vit.r160_in1k"]))
    published = Weights(f"{publisher['url']}/model.safetensors")
    entry = dataclasses.replace(SMALL["timm/test_vit.r160_in1k"], weights=published)
    fetch.fetch(entry, tmp_path)
    assert encoder(entry, tmp_path).embed(pictures(entry, 1)).shape == (1, 64)
    publisher["told"] = "0" * 64
    with pytest.raises(WeightsMissing, match="not what was published"):
        fetch.fetch(entry, tmp_path / "other")
    publisher["told"] = "not said"
    with pytest.raises(WeightsMissing, match="does not say its sha256"):
        fetch.fetch(entry, tmp_path / "other")


def test_a_job_downloads_only_where_that_is_allowed(publisher, tmp_path):
    entry = SMALL["timm/test_resnet.r160_in1k"]
    publisher["content"] = safetensors.torch.save(seeded_weights.seeded(entry))
    entry = dataclasses.replace(entry, weights=Weights(f"{publisher['url']}/model.safetensors"))
    with pytest.raises(WeightsMissing):
        _ = encoder(entry, tmp_path).version
    assert publisher["asked"] == []
    assert encoder(entry, tmp_path, allow_downloads=True).embed(pictures(entry, 1)).shape == (1, 96)
    assert [method for method, _ in publisher["asked"]] == ["HEAD", "GET"]


def test_a_publisher_that_cannot_be_reached_is_named(tmp_path):
    entry = dataclasses.replace(RESNET, weights=Weights("http://127.0.0.1:9/resnet18-f37072fd.pth", "f37072fd"))
    with pytest.raises(WeightsMissing, match=r"127\.0\.0\.1:9/resnet18.* cannot be reached"):
        fetch.fetch(entry, tmp_path)


class Hungry(torch.nn.Module):
    """A network whose device has room for some pictures only."""

    def __init__(self, room):
        super().__init__()
        self.room, self.sizes = room, []

    def forward(self, seen):
        self.sizes.append(len(seen))
        if len(seen) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return seen.mean((2, 3))


def test_out_of_memory_halves_the_batch_for_good_and_loses_no_row():
    def rows_with(room):
        network = Hungry(room)
        put = forward.Forward(
            network, forward.in_colours((0, 0, 0), (1, 1, 1)), 8, 3, torch.device("cpu"), torch.float32, 16
        )
        return put(list(np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8))), network.sizes

    whole, _ = rows_with(16)
    rows, sizes = rows_with(5)
    np.testing.assert_allclose(rows, whole, rtol=1e-6)
    assert sizes == [16, 8, 4, 4, 4, 4, 4]
    with pytest.raises(MemoryLimit):
        rows_with(0)


def test_the_device_is_the_one_asked_for_or_an_error(monkeypatch):
    assert chosen_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert chosen_device("auto") == torch.device("cuda", 0)
    assert chosen_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InvalidRequest, match="has 2 such devices"):
        chosen_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto").type == "cpu"


def test_arithmetic_is_halved_only_where_the_hardware_has_it(monkeypatch):
    def dtype(device, **runtime):
        return chosen_dtype(Runtime(**runtime), torch.device(device))

    for features, wanted in (({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": False}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda features=features: features)
        assert dtype("cpu") == wanted
    for native, wanted in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native: native)
        assert dtype("cuda") == wanted
    assert dtype("cuda", precision="float32") == torch.float32
    assert dtype("cpu", precision="bfloat16") == torch.bfloat16


def test_winnow_64_says_when_it_does_not_run_on_a_processor(monkeypatch):
    assert get_encoder("winnow-64", Runtime(device="cpu")).version == "1"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert get_encoder("winnow-64", Runtime(device="cuda")).version == "1-cuda"
