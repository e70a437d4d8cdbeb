"""Understands a prompt: what it asks for, in which order, and whether anything in it was not understood."""

import bisect
import random
import re
from dataclasses import dataclass
from functools import partial

from . import collage
from .request import Request
from .rules import DONE, RULES, Rule, Step

_MAX_STEPS = 24  # a prompt that repeats "blur" ten thousand times is served the first few
_MAX_TEXT = 20_000  # of a longer prompt the beginning and the end are read


_BREAK = re.compile(
    r"[\n;,!?]|\.(?![0-9])|\b(?:and|then|but|plus|now|also)\b|\bwith(?=[ \t]+an?[ \t]+(?!width|thick|thin|radius|colou?r))",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"\b(?:no|not|don't|dont|never|without|remov\w+|delete|erase|take (?:off|away)|get rid of|instead of)[ \t]+"
    r"(?:(?!(?:and|then|but)\b)[\w']+[ \t]+){0,3}$",
    re.IGNORECASE,
)
# Words that ask for nothing by themselves.
_FILLER = re.compile(
    r"a|add(?:ed|ing)?|again|all|also|an|and|any|appl(?:y|ied)|are|as|at|back|be|both|by|can|change|colou?rs?|convert|could"
    r"|create|do|draw|edit|effects?|everything|filter|first|for|fourth|from|generate|give|here|i|images?|in|into|is|its?|just"
    r"|kindly|lets?|like|look(?:s|ing)?|made|make|me|more|my|need|now|of|on|one|onto|or|over|photo(?:graph)?s?|pics?|pictures?"
    r"|place|please|put|references?|result|second|set|side|some|so|style|than|that|the|them|then|there|these|third|this|to"
    r"|together|transform|turn(?:ed)?|us|use|using|version|want|we|whole|will|with|would|you|your",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Plan:
    """What a prompt comes to: how several references are brought together, and what is then done one after another."""

    compose: collage.Arrangement
    steps: list[tuple[Step, Request]]
    note: str  # what to write onto the picture


_STRAIGHT = str.maketrans({"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u00ab": '"', "\u00bb": '"', "\u2018": "'",
                           "\u2019": "'", "\u00d7": "x", "\u00b0": " degrees ", "\r": "\n", "\x7f": " "})  # fmt: skip


def _tidy(prompt: str) -> str:
    half = _MAX_TEXT // 2
    kept = prompt if len(prompt) <= _MAX_TEXT else f"{prompt[:half]}\n...\n{prompt[-half:]}"
    straight = kept.translate(_STRAIGHT)
    return "".join(letter if letter >= " " or letter == "\n" else " " for letter in straight).strip()


def understand(prompt: str, *, references: int, seed: int) -> Plan:
    """Every rule takes its words out of what the rules before it left; what stays to the end was not understood."""
    text = _tidy(prompt)
    found: list[tuple[re.Match[str], Rule]] = []
    rest = text

    def take(rule: Rule, match: re.Match[str]) -> str:
        if _NEGATED.search(rest[max(0, match.start() - 60) : match.start()]):
            return match[0]
        found.append((match, rule))
        return DONE * len(match[0])

    for rule in RULES:
        if references or not rule.scenic:
            rest = rule.pattern.sub(partial(take, rule), rest)
    found.sort(key=lambda pair: pair[0].start())
    dropped = found[_MAX_STEPS:]
    steps, rest = _with_surroundings(found[:_MAX_STEPS], rest, seed)
    compose, rest = _arrangement(rest) if references > 1 else (collage.single, rest)
    words = re.finditer(r"[^\W_]+", rest.replace("'s", ""))
    whole = not dropped and len(text) <= _MAX_TEXT and (steps or references > 1)
    understood = references and whole and all(_FILLER.fullmatch(word[0]) for word in words)
    return Plan(compose, steps, "" if understood else text)


def _with_surroundings(found: list[tuple[re.Match[str], Rule]], rest: str, seed: int) -> tuple[list[tuple[Step, Request]], str]:
    """Give every request the words of its clause, and take the details among those out of `rest`."""
    breaks = [(match.start(), match.end()) for match in _BREAK.finditer(rest)]
    steps: list[tuple[Step, Request]] = []
    left = rest
    for number, (match, rule) in enumerate(found):
        start, end = match.span()
        nearest = bisect.bisect_left(breaks, (start, start))
        begin = max(breaks[nearest - 1][1] if nearest else 0, found[number - 1][0].end() if number else 0)
        finish = min(
            breaks[nearest][0] if nearest < len(breaks) else len(rest),
            found[number + 1][0].start() if number + 1 < len(found) else len(rest),
        )
        dice = random.Random(f"{seed}/{number}")  # noqa: S311 - snowflakes, not secrets
        steps.append((rule.step, Request(match, rest[begin:start], rest[end:finish], dice)))
        for low, high in ((begin, start), (end, finish)):
            left = left[:low] + rule.detail.sub(lambda word: DONE * len(word[0]), left[low:high]) + left[high:]
        if match.groupdict().get("object"):  # "make the sky blue": we tint, and do not know a sky
            low, high = match.span("object")
            left = left[:low] + match["object"] + left[high:]
    return steps, left


_ON = r"(?:on|onto|in|into|inside|over|to)"
_UNTIL = rf"[^\n;.,{DONE}]"
_INSET = re.compile(
    rf"\b(?:put|place|paste|insert|stick|embed|add)\b{_UNTIL}{{1,80}}?\b{_ON}\b{_UNTIL}{{0,60}}"
    r"|\bpicture[- ]in[- ]picture\b|\binset\b",
    re.IGNORECASE,
)
_JOINING = re.compile(r"\b(?:combin\w*|join\w*|merg\w*|put)\b", re.IGNORECASE)
_ARRANGEMENTS: tuple[tuple[str, collage.Arrangement], ...] = (
    (r"\bstack\w*|\bvertical\w*|\b(?:on top of|above|below) (?:each|one) (?:an)?other\b|\bin a column\b", collage.column),
    (r"\bcollage\b|\bgrid\b|\bmontage\b|\bmosaic\b", collage.grid),
    (r"\bside[- ]by[- ]side\b|\bnext to (?:each|one) (?:an)?other\b|\bin a row\b|\bhorizontal\w*", collage.row),
    (r"\bblend\w*|\boverla\w+|\bsuperimpos\w*|\bdouble exposure\b|\bmix\w*|\bmorph\w*", collage.blend),
)


def _arrangement(rest: str) -> tuple[collage.Arrangement, str]:
    """How the words ask to bring several pictures together, and what else there is in them."""
    for pattern, compose in _ARRANGEMENTS:
        if re.search(pattern, rest, re.IGNORECASE):
            return compose, _JOINING.sub("", re.sub(pattern, "", rest, flags=re.IGNORECASE))
    match = _INSET.search(rest)
    if match is None:
        return collage.grid, _JOINING.sub("", rest)
    left = rest[: match.start()] + rest[match.end() :]
    if "inset" in match[0].lower() or match[0].lower().startswith("picture"):
        return partial(collage.inset, place=(0.94, 0.94)), left
    place = Request(match, "", "", random.Random(0)).place((0.5, 0.6))  # noqa: S311 - nothing is diced here
    onto_second = re.search(rf"\b(?:first|1st|1)\b.*\b{_ON}\b.*\b(?:second|2nd|2)\b", match[0], re.IGNORECASE)
    return partial(collage.inset, base=1 if onto_second else 0, place=place), left
