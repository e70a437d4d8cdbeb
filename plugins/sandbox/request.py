"""One thing that a prompt asks for, and what the words around it say about how, how much and where."""

import random
import re
from dataclasses import dataclass

from .canvas import Point
from .colours import COLOUR, Colour, colour_of

_COLOUR = re.compile(COLOUR, re.IGNORECASE)
WEAK = r"slight(?:ly)?|(?:a )?bit|(?:a )?little|subtl[ey]|gent(?:le|ly)|soft(?:ly)?|light(?:ly)?|mild(?:ly)?|somewhat|thin"
STRONG = (
    r"very|much|(?:a )?lot|strong(?:ly|er)?|heav(?:y|ily)|really|super|extreme(?:ly)?|intense(?:ly)?|way|highly|thick"
    r"|totally|completely"
)
LESS = r"less|reduc\w+|lower\w*|decreas\w+|low|drop|weaken|weaker|too|minus"
NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
           "nine": 9, "ten": 10, "some": 3, "few": 3, "several": 4, "many": 7, "lots": 9}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One thing that a prompt asks for: the words that named it, and those around it in the same clause."""

    match: re.Match[str]
    before: str
    after: str
    dice: random.Random

    def says(self, pattern: str) -> re.Match[str] | None:
        """A match after the request, or else before it, or else in it: "rotate 30" but also "20% brighter"."""
        found = (re.search(rf"(?:{pattern})", text, re.IGNORECASE) for text in (self.after, self.before, self.match[0]))
        return next(filter(None, found), None)

    def number(self, unit: str) -> float | None:
        found = self.says(rf"(?<![\w.])([0-9]{{1,5}}(?:\.[0-9]{{1,4}})?)[ \t]*(?:{unit})")
        return float(found[1]) if found else None

    @property
    def strength(self) -> float:
        if self.says(rf"\b(?:{STRONG})\b"):
            return 2.2
        return 0.5 if self.says(rf"\b(?:{WEAK})\b") else 1.0

    @property
    def percent(self) -> float | None:
        number = self.number("%|percent")
        return None if number is None else number / 100

    @property
    def less(self) -> bool:
        return bool(re.search(rf"\b(?:{LESS})\b", f"{self.before} {self.match[0]}", re.IGNORECASE))

    @property
    def colour(self) -> Colour | None:
        """The nearest colour before what was named ("a red hat"), or else the first one after it ("a hat in red")."""
        before = list(_COLOUR.finditer(self.before))
        nearest = before[-1] if before else _COLOUR.search(self.after)
        return colour_of(nearest) if nearest else None

    @property
    def sides(self) -> tuple[float | None, float | None]:
        """Which side of the picture is meant, across and down, from 0 to 1, as far as the words say so."""
        middle = 0.5 if self.says(r"\b(?:cent(?:er|re)|middle)") else None
        across = 0.0 if self.says(r"\bleft\b") else 1.0 if self.says(r"\bright\b") else middle
        down = 0.0 if self.says(r"\b(?:top|upper)\b") else 1.0 if self.says(r"\b(?:bottom|lower)\b") else middle
        return across, down

    def place(self, usual: Point) -> Point:
        """Where the middle of something should be: near the sides that are meant, and otherwise where it usually is."""
        across, down = self.sides
        x = usual[0] if across is None else {0.0: 0.18, 1.0: 0.82}.get(across, across)
        y = usual[1] if down is None else {0.0: 0.16, 1.0: 0.82}.get(down, down)
        return x, y
