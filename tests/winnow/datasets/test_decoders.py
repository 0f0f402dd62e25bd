"""The pool: order kept, deaths contained, nothing left running."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from winnow.datasets import decoders
from winnow.datasets.decode import Crop, decode
from winnow.datasets.decoders import DecoderPool
from winnow.errors import ItemError

# A decoder that does what its picture says: kills itself, aborts, hangs, or is deaf before it dies of it.
WICKED = """
import os, signal, sys, time
from winnow.datasets import decoder_process
honest = decoder_process.decode
def decode(content, *how):
    if content.startswith(b"kill"): os.kill(os.getpid(), signal.SIGKILL)
    if content.startswith(b"abort"): os.abort()
    if content.startswith(b"hang"): time.sleep(60)
    if content.startswith(b"once "):
        _, mark, content = content.split(b" ", 2)
        if not os.path.exists(mark):
            os.close(os.open(mark, os.O_CREAT))
            os.abort()
    return honest(content, *how)
decoder_process.decode = decode
decoder_process.main()
"""
WICKED_COMMAND = (sys.executable, "-c", WICKED)


def children():
    """Of this process, leaving out the servers that other tests have started."""
    found = psutil.Process().children(recursive=True)
    return [child for child in found if not any("s3_server" in word for word in child.cmdline())]


def test_answers_come_in_the_order_of_the_items_and_equal_decoding_here(picture):
    contents = [picture(number, size=(20 + 37 * number % 300, 40)) for number in range(40)]
    with DecoderPool(2, 10**7, 16) as pool:
        answers = list(pool.decode((str(number), content) for number, content in enumerate(contents)))
    assert [path for path, _ in answers] == [str(number) for number in range(40)]
    for (_, answer), content in zip(answers, contents, strict=True):
        here = decode(content, 10**7, 16)
        assert (answer.width, answer.height) == (here.width, here.height)
        np.testing.assert_array_equal(answer.pixels, here.pixels)


def test_a_crop_is_asked_for_through_the_pipe(picture):
    content = picture(size=(90, 30))
    for crop in (Crop(18, "bilinear"), Crop(16, "bicubic"), Crop(20, "box")):
        with DecoderPool(1, 10**7, 16, crop=crop) as pool:
            ((_, answer),) = pool.decode([("a", content)])
        np.testing.assert_array_equal(answer.pixels, decode(content, 10**7, 16, crop).pixels)
        assert (answer.pixels != decode(content, 10**7, 16).pixels).any()


@pytest.mark.parametrize("bound", ["_AHEAD", "_AHEAD_BYTES"])
def test_a_pool_works_ahead_within_bounds_of_number_and_of_memory(picture, monkeypatch, bound):
    monkeypatch.setattr(decoders, bound, 8 if bound == "_AHEAD" else 8 * len(picture()))
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield str(number), picture()

    with DecoderPool(1, 10**7, 8) as pool:
        answers = pool.decode(items())
        next(answers)
        assert 4 <= len(taken) <= 9


def test_a_refused_picture_says_why_and_the_process_lives_on(picture):
    items = [("text", b"hello"), ("large", picture(size=(64, 64))), ("good", picture(size=(8, 8)))]
    with DecoderPool(1, 1000, 8) as pool:
        (_, text), (_, large), (_, good) = pool.decode(items)
        assert len(children()) == 1
    assert text.code == "UNSUPPORTED_FORMAT"
    assert (large.code, large.detail) == ("IMAGE_TOO_LARGE", "64x64")
    assert good.width == 8


@pytest.mark.parametrize("how", [b"kill", b"abort"])
def test_a_picture_that_kills_its_decoder_twice_is_set_aside_and_the_others_are_not(how, picture):
    items = [("a", picture(1)), ("bad", how), ("b", picture(2)), ("c", picture(3))]
    with DecoderPool(2, 10**7, 8, command=WICKED_COMMAND) as pool:
        answers = dict(pool.decode(items))
    assert isinstance(answers["bad"], ItemError)
    assert answers.pop("bad").code == "ITEM_CRASHED_DECODER"
    assert [answer.width for answer in answers.values()] == [40, 40, 40]


def test_one_death_is_forgiven(tmp_path, picture):
    mark = str(tmp_path / "died").encode()
    with DecoderPool(1, 10**7, 8, command=WICKED_COMMAND) as pool:
        ((_, answer),) = pool.decode([("a", b"once " + mark + b" " + picture())])
    assert (tmp_path / "died").exists()
    assert answer.width == 40


def test_a_picture_that_hangs_is_given_up(picture):
    began = time.monotonic()
    with DecoderPool(1, 10**7, 8, command=WICKED_COMMAND, item_limit_s=1.5) as pool:
        answers = dict(pool.decode([("bad", b"hang"), ("good", picture())]))
    assert answers["bad"].code == "ITEM_TIMEOUT"
    assert answers["good"].width == 40
    assert time.monotonic() - began < 8


def test_a_decoder_that_does_not_listen_cannot_hold_up_a_large_picture():
    deaf = (sys.executable, "-c", "import time; time.sleep(60)")
    with DecoderPool(1, 10**7, 8, command=deaf, item_limit_s=0.3) as pool:
        ((_, answer),) = pool.decode([("large", bytes(8 << 20))])
    assert answer.code == "ITEM_TIMEOUT"


def test_a_decoder_that_cannot_start_costs_items_not_the_job():
    with DecoderPool(1, 10**7, 8, command=("/bin/false",)) as pool:
        ((_, answer),) = pool.decode([("a", b"x")])
    assert answer.code == "ITEM_CRASHED_DECODER"


def test_nothing_runs_after_the_pool(picture):
    with DecoderPool(2, 10**7, 8) as pool:
        list(pool.decode([("a", picture()), ("b", picture()), ("c", picture())]))
        assert children()
    assert children() == []


def test_a_decoder_runs_under_its_limits_and_with_none_of_our_environment(picture, monkeypatch):
    monkeypatch.setenv("WINNOW_DATABASE_URL", "postgresql://secret")
    with DecoderPool(1, 10**7, 8) as pool:
        list(pool.decode([("a", picture())]))
        (decoder,) = children()
        assert decoder.rlimit(psutil.RLIMIT_AS)[1] == 2 << 30
        assert decoder.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert decoder.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert decoder.rlimit(psutil.RLIMIT_NOFILE)[0] <= 64
        assert decoder.rlimit(psutil.RLIMIT_CPU)[0] <= 30
        assert "WINNOW_DATABASE_URL" not in decoder.environ()


def test_a_decoder_dies_with_its_parent():
    parent = (
        "import io, os, signal, psutil; from PIL import Image; from winnow.datasets.decoders import DecoderPool\n"
        "out = io.BytesIO(); Image.new('RGB', (9, 9)).save(out, 'PNG')\n"
        "pool = DecoderPool(1, 10**7, 8); list(pool.decode([('a', out.getvalue())]))\n"
        "print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, check=False)
    pid = int(done.stdout)
    for _ in range(50):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("the decoder outlived its parent")


def test_a_decoder_loads_little():
    show = "import sys, winnow.datasets.decoder_process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", show], capture_output=True, check=True, text=True).stdout.split()
    assert "PIL" in loaded
    assert not {"pyarrow", "pydantic", "sqlalchemy", "matplotlib", "torch", "winnow.spec"} & set(loaded)


def test_the_decoder_is_found_from_any_folder(picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("winnow").mkdir()  # a folder of that name here must not be taken for the package
    Path("winnow/__init__.py").write_text("raise SystemExit")
    with DecoderPool(1, 10**7, 8) as pool:
        ((_, answer),) = pool.decode([("a", picture())])
    assert answer.width == 40
