"""What a rater judges: three criteria with five levels each. Every form is made from this table.

After Lahnala, Welch, Jurgens and Flek (2024), "The Muddy Waters of Modeling Empathy in Language", section 4.1, Figure 4
(the instructions) and Figure 5 (the levels), in our own words. The paper asks about empathy; here the construct is
named "the construct", so that other tasks can be rated too.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = (
    'Criteria after Lahnala, Welch, Jurgens and Flek (2024), "The Muddy Waters of Modeling Empathy in Language", '
    "section 4.1 and Figures 4 and 5, in other words."
)
INSTRUCTIONS = (
    "The construct is what the task is meant to measure, such as empathy. Read the publication of each dataset: it "
    "says how the construct is defined, how it was measured, and where the texts come from.",
    "Choose one level from 1 to 5 for each criterion. Levels are whole: there is no 3.5. Leave a criterion blank where "
    "you cannot judge it, and say why in the note.",
    "Rate alone, and do not compare answers before all raters have finished. The tasks are in another order for each "
    "rater, so that tiredness and habit do not fall on the same tasks.",
)


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One question about a task. `levels`: what 1, 2, 3, 4 and 5 mean."""

    name: str  # one of `analysis.features.RATINGS`
    title: str
    question: str
    levels: tuple[str, str, str, str, str]


CRITERIA = (
    Criterion(
        name="definition",
        title="Definition",
        question="How finely is the construct defined on which the task rests?",
        levels=(
            "No definition: the construct is not explained, and no source for it is named.",
            "One side of it, or a loose notion: other sides are not discussed.",
            "Several sides are named, but none is worked out.",
            "Several sides, each with a general account of how it is felt or how it shows in language.",
            "Many concrete sides: feelings, acts or ways of interacting, each described by itself.",
        ),
    ),
    Criterion(
        name="link",
        title="Link",
        question="How closely do the labels or measurements follow the construct as it is defined?",
        levels=(
            "Hardly: they may touch the construct or something near it, but nothing ties them to its definition.",
            "Weakly: they are meant to capture it, but it is unclear how, or one judgement must stand for too much.",
            "Partly: they plainly reflect it, but parts are missing or simplified, or the method may be unreliable.",
            "Largely: they were built step by step from several parts of the definition, by fairly sound methods.",
            "Fully: each part of the definition has its own label or scale, measured precisely.",
        ),
    ),
    Criterion(
        name="conduciveness",
        title="Conduciveness",
        question="How much does the situation in which the texts arose let you expect the construct in them? Think of "
        "their purpose, the social norms, and how they were collected and labelled.",
        levels=(
            "Much less than elsewhere.",
            "Somewhat less than elsewhere.",
            "Neither more nor less than elsewhere.",
            "Somewhat more than elsewhere.",
            "Much more than elsewhere.",
        ),
    ),
)
NAMES = tuple(criterion.name for criterion in CRITERIA)
LEVELS = tuple(range(1, 6))
