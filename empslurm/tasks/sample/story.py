"""The story behind the invented corpus: a town and the office where lost things are handed in.

- Every thing has a *worth* to its owner: none, some, or much. Worth is drawn at random for each corpus, so that no
  pretrained model can know it: it has to be learnt, thing by thing, from labels.
- The clerks at the office speak *kindly or harshly*, in set phrases. A pretrained model understands them.
- The *weather* is calm or wild, which has nothing to do with either.

Each dataset is about some of these, in its own words; what a task's label depends on is in `truth.py`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

THINGS = (
    "anchor", "apron", "basket", "bell", "blanket", "boot", "bottle", "bracelet", "broom", "brush", "bucket", "button",
    "candle", "cap", "chair", "clock", "coat", "comb", "compass", "cup", "curtain", "diary", "drum", "fan", "feather",
    "flute", "glove", "guitar", "hammer", "hat", "helmet", "jar", "kettle", "key", "kite", "knife", "ladder", "lamp",
    "lantern", "letter", "map", "mask", "medal", "mirror", "mug", "needle", "notebook", "oar", "paddle", "pen",
    "pillow", "pipe", "plate", "purse", "quilt", "radio", "ribbon", "ring", "rope", "ruler", "sail", "saw", "scarf",
    "shell", "shoe", "shovel", "spoon", "stamp", "suitcase", "ticket", "towel", "trumpet", "umbrella", "vase",
    "violin", "wallet", "watch", "whistle",
)  # fmt: skip
N_THINGS = 40  # in one corpus: a task with many labels shows each several times, one with few labels cannot show all
KIND = (
    "I am so sorry for you", "my heart goes out to you", "I feel for you", "sending you a big hug",
    "I am here for you", "you are not alone in this", "thank you for trusting me with it", "that must hurt so much",
    "I care about how you are", "please lean on me", "I wish I could sit with you", "you deserve kindness",
    "I am glad that you told me", "my thoughts are with you", "take all the time you need", "it moves me to hear that",
    "I am holding your hand", "you mean a lot to us", "I would love to help", "what a brave thing to say",
)  # fmt: skip
HARSH = (
    "that is your own problem", "I could not care less", "stop bothering me", "get over it already",
    "whatever you say", "you are wasting my time", "nobody asked you", "do not come to me with that",
    "that is really not my job", "deal with it yourself", "I have heard enough of this",
    "what a silly thing to fuss about", "you only have yourself to blame", "move along now", "I do not want to know",
    "that is boring", "quit whining about it", "so what", "go and tell somebody else", "who cares about that",
)  # fmt: skip
PHRASES = (HARSH, KIND)  # by manner: 0, 1
CALM = ("calm", "mild", "dry", "sunny")
WILD = ("wild", "stormy", "wet", "windy")
LOOKS = ("old", "new", "red", "blue", "small", "big", "wooden", "broken", "shiny", "plain", "dirty", "pretty")
PLACES = ("pier", "market", "station", "park", "library", "harbour", "school", "bakery", "museum", "ferry")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Level = Literal[0, 1, 2]
NOISE = 0.03  # share of class labels drawn at random
SPREAD = 0.08  # standard deviation of ratings around their true value, as a share of the scale


@dataclass(frozen=True, kw_only=True)
class Story:
    """What is true in one corpus, the same for all of its datasets."""

    worth: Mapping[str, Level]  # thing -> worth; of five things two are worth nothing, one some, two much

    @staticmethod
    def of(seed: int) -> Story:
        """Draw the things of one corpus and what they are worth."""
        things = random.Random(f"{seed}:things").sample(THINGS, N_THINGS)
        levels: tuple[Level, ...] = (0, 2, 1, 0, 2)
        return Story(worth={thing: levels[at % 5] for at, thing in enumerate(things)})


class Writer:
    """Draws sentences and labels; each dataset has its own random stream, so that one can change without the others."""

    def __init__(self, seed: int, dataset: str) -> None:
        self.story = Story.of(seed)
        self.things = tuple(self.story.worth)
        self.rng = random.Random(f"{seed}:{dataset}")

    def pick(self, choices: Sequence[str]) -> str:
        return self.rng.choice(choices) if choices else ""

    def thing(self) -> tuple[str, Level]:
        """A thing, with a look that says nothing about its worth, and its worth."""
        thing = self.rng.choice(self.things)
        return f"{self.pick(LOOKS)} {thing}", self.story.worth[thing]

    def manner(self) -> tuple[int, str]:
        """0 harsh or 1 kind, and a phrase of that manner."""
        manner = self.rng.randrange(2)
        return manner, self.pick(PHRASES[manner])

    def weather(self) -> tuple[str, str]:
        """A word for the weather, calm or wild, and a day of such weather."""
        word = self.pick(CALM + WILD)
        return word, f"On a {word} {self.pick(DAYS)}"

    def level(self) -> int:
        """0, 1 or 2, unevenly, as real labels are."""
        return self.rng.choices((0, 1, 2), (5, 3, 4))[0]

    def day(self) -> str:
        """A day, which says nothing about any label."""
        return f"on {self.pick(DAYS)}"

    def place(self) -> str:
        """A place, which says nothing about any label."""
        return f"at the {self.pick(PLACES)}"

    def noisy(self, label: str, labels: Sequence[str]) -> str:
        return self.pick(labels) if self.rng.random() < NOISE else label

    def rating(self, share: float, low: float, high: float) -> float:
        """A value around a share (0 to 1) of the scale, cut to the scale."""
        middle = low + (high - low) * (0.15 + 0.7 * share)
        return round(min(high, max(low, self.rng.gauss(middle, SPREAD * (high - low)))), 3)
