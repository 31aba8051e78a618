"""The page in a real browser: no error, no request, sorting and hovering work; and it keeps hostile text as text."""

import json
import re
import shutil
import subprocess

import pytest

from empslurm import reference
from empslurm.gather import from_file, gather
from empslurm.report.write import write
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import finish, grid

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")

WATCH = """<script>
window.problems = [];
window.addEventListener("error", (event) => problems.push("error: " + event.message));
window.addEventListener("securitypolicyviolation", (event) => problems.push("policy: " + event.blockedURI));
const say = console.error; console.error = (...said) => { problems.push("console: " + said.join(" ")); say(...said); };
</script>"""

ACT = """<script>
window.addEventListener("load", () => {
  const table = [...document.querySelectorAll("table")].find((one) => /table8/.test(one.id));
  const column = 1;
  const read = () => [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.v);
  const press = () => table.querySelectorAll("th button")[column].click();
  const before = read(); press(); const up = read(); press(); const down = read();
  const cell = document.querySelector(".heat td[data-tip]");
  cell.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  const tip = document.getElementById("tip");
  const shown = !tip.hidden && tip.textContent === cell.dataset.tip && tip.getBoundingClientRect().width > 0;
  document.body.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  let saved = null;
  const make = URL.createObjectURL; URL.createObjectURL = (blob) => { saved = blob.size; return make(blob); };
  HTMLAnchorElement.prototype.click = () => {};
  document.querySelector("button.get").click();
  const out = document.createElement("pre"); out.id = "outcome";
  out.textContent = JSON.stringify({ before, up, down, shown, hiddenAfter: tip.hidden, saved,
    requests: performance.getEntriesByType("resource").map((entry) => entry.name),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth, problems });
  document.body.append(out);
});
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = RunsRoot(tmp_path_factory.mktemp("runs"))
    for cell in grid(("epitome_er", "news_empathy", "conv_emopol"), seeds=(1, 2)):
        finish(root, cell)
    folder = root.gathered / "all"
    return folder / write(gather(root, None, registry()), folder, ratings=reference.ratings()).report


def _in_browser(report, tmp_path, width):
    assert CHROMIUM is not None
    text = report.read_text()
    page = tmp_path / "page.html"
    page.write_text(text.replace("<style>", WATCH + "<style>", 1).replace("</body>", ACT + "</body>"))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options += [
        "--disable-background-networking",
        f"--window-size={width},900",
        "--virtual-time-budget=5000",
        "--dump-dom",
    ]
    done = subprocess.run([CHROMIUM, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="outcome">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    return json.loads(found[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))


@needs_browser
@pytest.mark.parametrize("width", [1280, 500])
def test_sorting_hovering_and_saving_work_without_errors_or_requests(report, tmp_path, width):
    found = _in_browser(report, tmp_path, width)
    assert found["problems"] == []
    assert found["requests"] == []
    values = sorted(float(value) for value in found["before"])
    assert [float(value) for value in found["up"]] == values
    assert [float(value) for value in found["down"]] == values[::-1]
    assert values != [float(value) for value in found["before"]] or len(set(values)) < 3
    assert (found["shown"], found["hiddenAfter"]) == (True, True)
    assert found["saved"] > 50
    assert found["wide"] <= 0  # wide tables scroll in their own frame, the page does not


def test_the_page_names_no_address_but_its_own(report):
    text = report.read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", text)
    assert not re.findall(r"url\(|@import|https?://", text)


def test_hostile_names_stay_text(tmp_path):
    path = tmp_path / "<b>results.csv"
    evil = "<img src=x onerror=alert(1)>"
    path.write_text(f"source,target,seed,metric,value\n,{evil},1,pearson,0.5\nepitome_er,{evil},1,pearson,0.6\n")
    write(from_file(path, registry()), tmp_path / "out", ratings=reference.ratings())
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_what_is_missing_is_on_the_page(report):
    text = report.read_text()
    for said in ("Figure 9", "importances must have at least 20 pairs", "no cells with a part of the training data"):
        assert said in text


FOREIGN = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    path = folder / "mine.csv"
    lines = [
        f"{'' if source == target else source},{target},{seed},accuracy,0.{70 + 3 * at + 5 * seed - len(source)}"
        for target in FOREIGN
        for at, source in enumerate(FOREIGN)
        for seed in (1, 2)
    ]
    path.write_text("source,target,seed,metric,value\n" + "\n".join(lines) + "\n")
    return folder / write(from_file(path, registry()), folder, ratings=reference.ratings()).report


PAPERS_WORDS = ("adapter", "encoder", "verified", "embed cells", "Figure ", "Table ", "Lahnala", "empath", "paper")


def test_a_table_of_foreign_results_is_told_in_its_own_words(foreign):
    body = foreign.read_text().split("<body>")[1].split("<script>")[0]
    read = re.sub(r' data-name="[^"]*"', "", body)  # plain names of columns, as in the files
    assert [word for word in PAPERS_WORDS if word in read] == []
    assert "mine: a table of results, " in body
    assert "mine.csv, with 18 scores." in body
    assert "scores as given" in body


def test_links_lead_to_sections_that_exist(report, foreign):
    for path in (report, foreign):
        text = path.read_text()
        for link in re.findall(r'href="#([^"]+)"', text):
            assert f' id="{link}"' in text
    assert 'id="ratings"' in report.read_text()
    assert 'id="ratings"' not in foreign.read_text()


def test_results_on_the_papers_tasks_keep_its_numbers(tmp_path):
    path = tmp_path / "known.csv"
    path.write_text(
        "source,target,seed,metric,value\n,epitome_er,1,f1_macro,0.6\nnews_empathy,epitome_er,1,f1_macro,0.5\n"
    )
    write(from_file(path, registry()), tmp_path / "out", ratings=reference.ratings())
    text = (tmp_path / "out" / "report.html").read_text()
    for said in ("a table of results", "Lahnala", "Figure 6", 'id="ratings"', "table8.csv"):
        assert said in text
    assert "frozen encoder" not in text
