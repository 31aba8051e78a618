"""The page in a real browser: no error, no request; keyboard, filter, panel, downloads, print, accessibility."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from tests.report.pages import of_results, of_runs, of_settings, planted

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]
SERIOUS = ("serious", "critical")
MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return {
        "runs": of_runs(tmp_path_factory.mktemp("runs")),
        "results": of_results(tmp_path_factory.mktemp("results"), planted(4, 9)),
        "settings": of_settings(tmp_path_factory.mktemp("settings")),
        "large": of_results(tmp_path_factory.mktemp("large"), planted(5, 400, seeds=2)),
    }


@pytest.fixture
def look(browser):
    """Opens a page and collects its errors."""
    contexts = []

    def open_page(report, *, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(f"error: {error}"))
        page.on("console", lambda said: page.problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda asked: page.problems.append(asked.url) if asked.url != report.as_uri() else None)
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            assert page.problems == []
        context.close()


def _violations(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS]


@pytest.mark.parametrize("kind", ["runs", "results", "settings", "large"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_serious_stands_in_a_readers_way_and_no_page_is_wider_than_its_window(
    reports, look, kind, width, scheme
):
    page = look(reports[kind], width=width, scheme=scheme)
    page.evaluate("for (const fold of document.querySelectorAll('details.fold, details.group')) fold.open = true")
    assert _violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.locator("table.picture button").first.click()
    assert _violations(page) == []
    assert page.evaluate("new Set([...document.querySelectorAll('[id]')].map((one) => one.id)).size") == page.evaluate(
        "document.querySelectorAll('[id]').length"
    )


@pytest.mark.parametrize("kind", ["runs", "results", "settings", "large"])
def test_a_page_stays_small(reports, kind):
    assert reports[kind].stat().st_size < MOST_BYTES


def test_a_picture_is_walked_by_arrows_and_a_cell_opens_and_closes_by_the_keyboard(reports, look):
    page = look(reports["results"])
    focused = "document.activeElement.getAttribute('aria-label')"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('table.picture') !== null"):
            break
    assert page.evaluate(focused).startswith("harm → target 0: −.10, harms")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused).startswith("help → target 1: +.09, helps")
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="help → target 1")
    assert panel.is_visible()
    assert re.search(r"helps: \+0\.\d+ accuracy, 95 % interval", panel.inner_text())
    page.keyboard.press("Escape")
    assert not panel.is_visible()
    assert page.evaluate(focused).startswith("help → target 1")  # back at the earlier place
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('table.picture') === null")  # a picture is one stop


def test_the_panel_has_seeds_tests_curves_cost_and_ids(reports, look):
    page = look(reports["runs"])
    page.locator("table.picture button").first.click()
    panel = page.locator("#panel")
    said = panel.inner_text()
    for words in (
        "over seeds and test examples",
        "the paper's test",
        "Seeds (",
        "Learning curves",
        "training time",
        "trained on",
    ):
        assert words in said
    assert panel.locator("tbody tr").count() == 2  # a row per seed
    curves = panel.locator(".curves svg")
    assert curves.count() == 2
    assert "with the source, seed 1: 0.333" in curves.first.get_attribute("aria-label")
    assert panel.locator(".curves path.with").count() == 4  # two seeds, in both plots
    panel.get_by_text("ids of the runs").click()
    assert panel.locator("code").count() == 4
    assert len(set(panel.locator("code").all_inner_texts())) == 4
    before = panel.locator("h2").inner_text()
    page.get_by_role("button", name="next pair").click()
    assert panel.locator("h2").inner_text() != before


def test_a_filter_shows_what_is_asked_for_and_downloads_are_what_is_shown_or_everything(reports, look):
    page = look(reports["results"])
    place = page.locator("#pairs")
    assert place.locator("tbody tr").count() == 36
    heads = place.locator("thead th").all_inner_texts()
    assert 4 <= len(heads) <= 8
    place.locator("select[data-filter=verdict]").select_option("helps")
    assert place.locator("tbody tr").count() == 9
    place.locator("select[data-filter=target]").select_option("target 3")
    assert place.locator("tbody tr").count() == 1
    assert "1 row (of 36)" in place.get_by_role("status").inner_text()
    place.get_by_text("columns", exact=True).click()
    place.locator("input[data-column=paper_p]").check()
    with page.expect_download() as shown:
        place.locator("[data-save=shown]").click()
    with page.expect_download() as everything:
        place.locator("[data-save=all]").click()
    own, whole = (list(csv.DictReader(Path(one.value.path()).read_text().splitlines())) for one in (shown, everything))
    assert [(row["source"], row["target"], row["verdict"]) for row in own] == [("help", "target 3", "helps")]
    assert len(own[0]) == len(heads) + 1
    assert (len(whole), len(whole[0])) == (36, 21)


def test_sorting_goes_by_number_and_long_tables_have_pages(reports, look):
    page = look(reports["large"])
    place = page.locator("#pairs")
    assert place.locator("tbody tr").count() == 50
    place.get_by_role("button", name="difference").click()
    column = (
        place.locator("thead th")
        .all_inner_texts()
        .index(next(head for head in place.locator("thead th").all_inner_texts() if head.startswith("difference")))
    )
    read = f"[...document.querySelectorAll('#pairs tbody tr')].map((row) => row.cells[{column}].textContent)"
    up = [float(text.replace("−", "-")) for text in page.evaluate(read)]
    assert up == sorted(up)
    assert up[0] < -0.08
    place.get_by_role("button", name="later rows").click()
    assert "rows 51 to 100 of 2,000" in place.get_by_role("status").inner_text()
    place.get_by_role("button", name="difference").click()
    down = [float(text.replace("−", "-")) for text in page.evaluate(read)]
    assert down == sorted(down, reverse=True)


def test_a_link_opens_the_fold_it_leads_into_and_paper_has_no_buttons(reports, look):
    page = look(reports["settings"])
    assert not page.locator("#s2-pairs").is_visible()
    page.goto(f"{reports['settings'].as_uri()}#s2-pairs")
    page.wait_for_selector("#s2-pairs tbody tr")
    assert page.locator("#s2-pairs").is_visible()
    own = reports["settings"].as_uri()  # the page itself, asked for with an anchor
    page.problems[:] = [problem for problem in page.problems if not problem.startswith(own)]
    page.emulate_media(media="print")
    for gone in (".tools", "nav.bar"):
        assert not page.locator(gone).first.is_visible()


def test_a_cell_of_all_settings_shows_its_pair_in_each(reports, look):
    page = look(reports["settings"])
    cell = page.get_by_role("button", name="help → target 1: helps in 1, harms in 1 of 2 settings")
    cell.click()
    rows = page.locator("[data-table=settings-pairs] tbody tr")
    assert rows.count() == 1
    assert "helps on 1 of 2; harms on 1" in rows.first.inner_text()
