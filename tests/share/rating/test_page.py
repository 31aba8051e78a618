"""The page of a form in a real browser: filled, kept, saved, and read by agreement; keyboard and accessibility."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from empslurm.share.rating import forms, sheets
from empslurm.tasks import registry
from tests.share.rating import made

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]
TASKS = ("epitome_er", "hope")
LEVELS = {"epitome_er": ("345", "344"), "hope": ("211", "321")}
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    forms.write(tmp_path, ["Ann", "B"], TASKS, registry())
    return tmp_path


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages of one browser profile, without a network, and collects their errors."""
    contexts: list[Any] = []

    def open_page(path: Path, *, width: int = 1280, scheme: str = "light", before: str = "") -> Any:
        if not contexts or width != 1280:
            contexts.append(
                browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
            )
        page = contexts[-1].new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(f"error: {error}"))
        page.on("console", lambda said: page.problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda asked: page.problems.append(asked.url) if asked.url != path.as_uri() else None)
        if before:
            page.add_init_script(before)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            assert [one for one in page.problems if not one.startswith("blob:")] == []
        context.close()


def fill(page: Any, rater: int, *, without: tuple[str, str] | None = None) -> None:
    """Choose all levels, but not those of one task and criterion."""
    for task, levels in LEVELS.items():
        box = page.locator("section.task").filter(has_text=f"({task},")
        for name, level in zip(made.NAMES, levels[rater], strict=True):
            if (task, name) != without:
                box.locator(f"fieldset[data-criterion={name}] input[value='{level}']").check()


def saved(page: Any, button: str, to: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    assert download.value.suggested_filename == "Ann.csv"
    download.value.save_as(to)
    return to


def test_a_filled_page_is_saved_as_a_csv_that_agreement_reads(folder: Path, look: Any, tmp_path: Path) -> None:
    page = look(folder / "Ann.html")
    assert page.locator("#count").inner_text() == "0 of 6 rated"
    fill(page, 0)
    page.get_by_label("Note about Empathy Hope").fill('a "note", with\nlines, and =1+1 é')
    assert page.locator("#count").inner_text() == "6 of 6 rated"
    assert page.locator("#progress").evaluate("bar => bar.value / bar.max") == 1
    path = saved(page, "Save Ann.csv", tmp_path / "from the browser.csv")
    assert path.read_bytes().startswith(b"\xef\xbb\xbfrater,task,title,")
    rows = made.rows_of(path)
    expected = [row["task"] for row in made.rows_of(folder / "Ann.csv")]
    assert [row["task"] for row in rows] == expected
    assert [row["note"] for row in rows if row["task"] == "hope"] == ['a "note", with\nlines, and =1+1 é']
    blank = [{**row, "note": "", **dict.fromkeys(made.NAMES, "")} for row in rows]
    assert blank == made.rows_of(folder / "Ann.csv")
    other = made.save(tmp_path / "B-filled.csv", made.filled(made.rows_of(folder / "B.csv"), 1, LEVELS))
    first, _ = sheets.read([path, other])
    assert first.rater == "Ann"
    wanted = {
        (task, name): int(level)
        for task, of_both in LEVELS.items()
        for name, level in zip(made.NAMES, of_both[0], strict=True)
    }
    assert dict(first.levels) == wanted


def test_gaps_are_named_before_the_file_is_saved_and_stay_blank_in_it(folder: Path, look: Any, tmp_path: Path) -> None:
    page = look(folder / "Ann.html")
    fill(page, 0, without=("hope", "link"))
    page.get_by_role("button", name="Save Ann.csv").click()
    gaps = page.get_by_role("alert")
    assert "1 of 6 are not rated" in gaps.inner_text()
    link = gaps.get_by_role("link", name="Empathy Hope: link")
    link.click()
    assert page.evaluate("document.activeElement.closest('fieldset').dataset.criterion") == "link"
    path = saved(page, "Save with gaps", tmp_path / "gaps.csv")
    assert not gaps.is_visible()
    (row,) = [row for row in made.rows_of(path) if row["task"] == "hope"]
    assert [row[name] for name in made.NAMES] == ["2", "", "1"]


def test_answers_outlive_the_page_and_are_the_raters_own(folder: Path, look: Any) -> None:
    page = look(folder / "Ann.html")
    fill(page, 0)
    page.get_by_label("Note about Epitome ER").fill("kept")
    page.get_by_role("button", name="Clear the definition of Empathy Hope").click()
    page.reload()
    assert page.locator("#count").inner_text() == "5 of 6 rated"
    assert page.get_by_label("Note about Epitome ER").input_value() == "kept"
    box = page.locator("section.task").filter(has_text="(hope,")
    assert box.locator("fieldset[data-criterion=definition] input:checked").count() == 0
    assert box.locator("fieldset[data-criterion=link] input:checked").input_value() == "1"
    assert look(folder / "B.html").locator("#count").inner_text() == "0 of 6 rated"


def test_a_browser_that_keeps_nothing_says_so_and_the_page_works(folder: Path, look: Any, tmp_path: Path) -> None:
    broken = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied') }})"
    page = look(folder / "Ann.html", before=broken)
    assert page.locator("#not-kept").is_visible()
    fill(page, 0)
    assert len(made.rows_of(saved(page, "Save Ann.csv", tmp_path / "a.csv"))) == 2


def test_kept_answers_that_are_damaged_are_left_out(folder: Path, look: Any) -> None:
    page = look(folder / "Ann.html")
    fill(page, 0)
    kept = '{"hope": {"link": "9", "definition": "4"}, "epitome_er": 3}'
    for text, n in ((kept, 1), ("{", 0), ("null", 0)):
        page.evaluate("text => Object.keys(localStorage).forEach((key) => localStorage.setItem(key, text))", text)
        page.reload()
        assert page.locator("#count").inner_text() == f"{n} of 6 rated"


def test_a_page_is_filled_by_the_keyboard_alone(folder: Path, look: Any) -> None:
    page = look(folder / "Ann.html")
    page.locator("#save").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.locator("#count").inner_text() == "1 of 6 rated"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.value") == "3"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button that clears
    assert page.locator("#count").inner_text() == "0 of 6 rated"
    page.keyboard.press("5")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.name") == "0-definition"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_serious_stands_in_a_raters_way(folder: Path, look: Any, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = look(folder / "B.html", width=width, scheme=scheme)
    page.get_by_role("button", name="Save B.csv").click()
    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in SERIOUS]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.evaluate("new Set([...document.querySelectorAll('[id]')].map((one) => one.id)).size") == page.evaluate(
        "document.querySelectorAll('[id]').length"
    )
