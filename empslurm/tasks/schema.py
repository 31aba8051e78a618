"""What a dataset, a task and an example are: the types every dataset module fills in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from empslurm.validation.constraints import Doc, Kind, Range

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One prediction task of a dataset."""

    id: str
    title: str  # as the paper prints it
    dataset: str
    kind: Kind
    labels: tuple[str, ...] = ()  # classification: names in index order
    low: float | None = None  # regression: the scale's ends, in the task's own unit
    high: float | None = None
    data_source: str  # e.g. "Reddit", "MTurk"
    language_setting: str  # e.g. "social media", "conversation", "essay"
    own_metric: str | None = None  # where it is not the default of its kind
    ratings: Mapping[str, float] = field(default_factory=dict, hash=False)  # a card's: aspect -> 1 to 5

    def __post_init__(self) -> None:
        """Raise ValueError where `own_metric` cannot choose the best epoch."""
        if self.own_metric is None:
            return
        from empslurm.metrics import that_choose_epochs

        known = that_choose_epochs(self.kind)
        if self.own_metric not in known:
            raise ValueError(
                f"{self.id}'s metric must rise as the model gets better, since its highest value marks the best epoch, "
                f"but is {self.own_metric}; for a {self.kind} take one of {', '.join(known)}"
            )

    @property
    def metric(self) -> str:
        """The metric that model selection and the paper's tables use."""
        from empslurm.metrics import PAPERS

        return self.own_metric or PAPERS[self.kind]


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """One file as distributed. `sha256` is None where no copy could be pinned yet."""

    name: str  # relative to the dataset's folder; the last part is what is searched for
    sha256: str | None = None
    git_blob: str | None = None  # git's id of the bytes, where only that is known
    n_bytes: int | None = None
    url: str | None = None  # public source at a pinned commit, when it may be downloaded


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row of a dataset, shared by its tasks."""

    id: str  # unique within the dataset
    group: str  # examples of one group never cross a split: dialogue, article, seeker post
    context: tuple[str, ...]  # earlier posts or turns, oldest first; () where there are none
    text: str
    labels: Mapping[str, str | float]  # task id -> label name or value; a task may lack one
    automatic: frozenset[str] = frozenset()  # the tasks whose label here is a classifier's, not a person's
    part: Part | None = None  # the publisher's, in a dataset with official parts
    file: str = ""  # the file that it is from; only readers of cards give it


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A row that is left out on purpose, by its label."""

    file: str
    row: int  # as a reject's
    label: str


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A row that cannot be used; never its text."""

    file: str
    row: int  # 1-based record number in the file, the header not counted
    reason: str
    part: Part | None = None  # the publisher's, where it is known
    by_label: bool = False  # whether the label is the reason
    value: str = ""  # the wrong value that ends the reason, where it may be shown


@dataclass(frozen=True, kw_only=True)
class Form:
    """One distributed layout of a dataset: which files, and how they are read."""

    name: str
    files: tuple[RawFile, ...]
    read: Callable[[Mapping[str, Path]], Iterator[Example | Reject | LeftOut]]  # file name -> verified path
    reading: int = 0  # version of the reader; raising it makes prepared data be parsed again, and moves no id
    # The fix where most bad rows are bad by their label. Called with wrong labels, and whether other rows are good.
    label_fix: Callable[[Sequence[str], bool], str] | None = None
    leaves_out: tuple[str, ...] = ()  # labels whose rows are left out on purpose
    note: str = ""  # for users who have this form
    partial: bool = False  # the user may have only some of the texts: missing ones are not a sign of a wrong file
    # Recorded on the pinned files, to notice changes: examples, and task id -> count per label, or (mean, deviation)
    n_examples: int | None = None
    recorded: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The shares of a drawn split; train has the rest."""

    validation: Annotated[float, Range(low=0.01, high=0.5), Doc("Share of the validation part.")] = 0.1
    test: Annotated[float, Range(low=0.01, high=0.5), Doc("Share of the test part.")] = 0.1


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset: its tasks and files, and what a user must know."""

    id: str
    title: str
    family: str  # datasets of one family share groups, and so one split
    tasks: tuple[Task, ...]
    forms: tuple[Form, ...]  # the first whose files are there is used; forms[0] is the pinned default
    citation: str
    licence: str
    obtain: str  # the steps a person takes
    grouped: bool = True  # False: every example is a group of its own
    automatic_labels: bool = False  # there are manual and automatic labels to choose from (`Example.automatic`)
    notes: str = ""  # where the paper's text is wrong, and what the counts are based on
    published: Mapping[str, int] = field(default_factory=dict)  # Table 1 of the paper: n_samples, ...
    obtain_by: Callable[[Path], Path] | None = None  # a card's hub section: data root -> what was saved below it
    official: tuple[Part, ...] = ()  # parts that the publisher gives, each with examples; (): the split is drawn
    shares: Shares | None = None  # of the drawn split, where a card asks for other shares than 80/10/10
