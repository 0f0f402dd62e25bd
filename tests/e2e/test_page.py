"""The page in a real browser: from a folder to its list, with names that attack it, on a phone, by keyboard."""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

ATTACK = '<img src=x onerror="window.struck=1">.png'
expect.set_options(timeout=15_000)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def embedded(start_service, tmp_path) -> Iterator[str]:
    with start_service(tmp_path) as service:
        yield str(service.http.base_url)


@pytest.fixture
def page(browser, embedded) -> Iterator[Page]:
    """At the list of jobs; whatever the browser complains of fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, base_url=embedded)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto("/")
    yield page
    context.close()
    assert not complaints


def filter_folder(page, folder, share="10"):
    page.get_by_label("Folder").fill(str(folder))
    page.get_by_label("Keep").fill(share)
    page.keyboard.press("Enter")


def test_from_a_folder_to_its_list_and_back(page, pictures):
    expect(page.get_by_text("No job yet")).to_be_visible()
    filter_folder(page, pictures)
    expect(page.get_by_role("heading", name="coreset succeeded")).to_be_visible(timeout=60_000)
    cards = page.locator(".cards li")
    expect(cards).to_have_count(6)
    assert cards.first.locator("img").evaluate("image => image.naturalWidth") > 0
    plots = page.locator("figure img")
    expect(plots).to_have_count(4)
    for plot in plots.all():
        assert plot.evaluate("image => image.naturalWidth") > 200
        assert plot.get_attribute("alt")
    expect(page.get_by_role("row", name=re.compile("truncated.png"))).to_contain_text("DECODE_FAILED")
    expect(page.get_by_text("Every sample lies within")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="selection.txt").click()
    assert len(download.value.path().read_text().splitlines()) == 6
    page.get_by_role("link", name="Winnow", exact=True).click()
    expect(page.get_by_role("row", name=re.compile("succeeded"))).to_be_visible()


def test_a_name_that_is_markup_stays_text(page, pictures):
    (pictures / "empty.png").rename(pictures / ATTACK)
    (pictures / "camera-0" / "000.png").rename(pictures / "camera-0" / f"kept{ATTACK}")
    filter_folder(page, pictures, "100")
    expect(page.get_by_role("cell", name=ATTACK, exact=True)).to_be_visible(timeout=60_000)
    assert page.evaluate("window.struck") is None


def test_a_folder_that_may_not_be_read_is_refused_in_words(browser, embedded):
    page = browser.new_page(base_url=embedded)
    page.goto("/")
    filter_folder(page, "/etc")
    expect(page.get_by_role("alert")).to_contain_text("SOURCE_NOT_ALLOWED")
    page.close()


def test_a_job_that_fails_says_why(page, tmp_path):
    (tmp_path / "bare").mkdir()
    filter_folder(page, tmp_path / "bare")
    expect(page.get_by_role("alert")).to_contain_text("DATASET_EMPTY", timeout=60_000)
    page.get_by_role("button", name="Delete this job").click()
    expect(page.get_by_text("No job yet")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_sticks_out(page, pictures, scheme):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    filter_folder(page, pictures)
    expect(page.locator("figure img")).to_have_count(4, timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_embedding_job_shows_its_files_and_what_was_set_aside(page, pictures):
    source = {"type": "folder", "path": str(pictures)}
    body = {"dataset": {"source": source}, "encoder": {"name": "descriptor-64"}}
    job = page.request.post("/v1/embeddings", data=body).json()
    page.goto(f"/#/jobs/{job['id']}")
    expect(page.get_by_role("heading", name="embed succeeded")).to_be_visible(timeout=60_000)
    with page.expect_download() as started:
        page.get_by_role("button", name="embeddings.ids").click()
    assert len(started.value.path().read_text().splitlines()) == 60
    expect(page.get_by_text("words.jpg")).to_be_visible()
