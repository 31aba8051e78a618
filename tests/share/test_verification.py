"""What a check says: the answer first, and a page that needs nothing else."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from empslurm.share.checks import Checked, Finding, Follows
from empslurm.share.printed import Entry
from empslurm.share.retrained import DIFFERS, SAME_BITS, Retrained
from empslurm.share.verification import Verification, answer, page, table

HONEST = Retrained(cell="a-s1-0123456789ab", outcome=SAME_BITS, text="the same bits")
OTHER = Retrained(cell="b-s1-0123456789ab", outcome=DIFFERS, text="another score", elsewhere=("host one -> two",))
EDITED = Finding(
    kind="edited",
    where="table7.csv",
    text="was changed after gather wrote it",
    entries=(Entry(place="row <b>, column x", printed="1", again="2"),),
    n_entries=3,
)


@pytest.fixture
def checked() -> Checked:
    return Checked(
        name="small",
        results=None,  # type: ignore[arg-type]  # what it says does not depend on them
        n_planned=10,
        n_results=8,
        n_refused=0,
        n_scores=56,
        n_files={"tables (LaTeX)": 3, "the page": 1},
        findings=(),
        follows=(),
        cautions=("Beware.",),
        unchecked=(),
        options=("Made so.",),
    )


def verification(checked: Checked, *again: Retrained) -> Verification:
    return Verification(checked=checked, retrained=again, unchecked=(), asked="my study.yaml")


def test_where_all_agrees_one_sentence_says_how_much(checked: Checked) -> None:
    made = verification(checked, HONEST)
    assert answer(made) == ("Everything agrees: 8 results, 4 files, 1 cell trained again.",)
    assert made.agrees
    assert made.repeat == "empslurm verify 'my study.yaml' --retrain a-s1-0123456789ab"
    assert made.limits[0] == "2 planned cells have no result yet."


def test_findings_are_counted_causes_first_and_honest_cells_confirmed(checked: Checked) -> None:
    refused = Finding(kind="refused", where="c-s1-0123456789ab", text="must match")
    checked = replace(checked, findings=(refused, EDITED, EDITED), follows=(Follows(name="a", n_entries=1),))
    made = verification(checked, HONEST, OTHER)
    first, second = answer(made)
    assert first.startswith("1 result fails its check; 2 files were changed after gather wrote them; 1 cell does not")
    assert "1 other file differs because of that." in first
    assert first.endswith("1 cell trained again with the same outcome: a-s1-0123456789ab.")
    assert second.startswith("The rest agrees.")
    assert not made.agrees


def test_nothing_to_check_is_no_agreement(checked: Checked) -> None:
    made = verification(replace(checked, n_results=0, n_files={}))
    assert answer(made) == ("No cell of small has a result here, so nothing could be checked.",)
    assert not made.agrees
    assert any("--retrain" in text for text in made.limits)


class Parser(HTMLParser):
    """Collects the page's text, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.loads: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [
            str(value) for name, value in attrs if name in ("src", "href") and not str(value).startswith("#")
        ]


def test_the_page_shows_every_finding_as_text_and_loads_nothing(checked: Checked) -> None:
    made = verification(replace(checked, findings=(EDITED,), follows=(Follows(name="long.csv", n_entries=7),)), OTHER)
    parser = Parser()
    parser.feed(page(made))
    text = " ".join(" ".join(parser.text).split())
    assert parser.loads == ["data:,"]
    for words in (*answer(made), "row <b>, column x: printed 1, recomputed 2", "and 2 more", "long.csv, in 7 places"):
        assert words in text, words
    for words in ("host one -> two", "Beware.", "Made so.", made.repeat, *made.limits):
        assert words in text, words
    assert ("tables (LaTeX)", "every line", "3") in table(made)
