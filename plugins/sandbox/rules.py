"""The table of what a prompt may say and what is then done."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image

from . import additions, filters, geometry, weather
from .colours import COLOUR, COLOUR_WORD
from .request import LESS, NUMBERS, STRONG, WEAK, Request

DONE = "\0"  # stands in for every character that a rule has understood; a prompt is rid of it first
_PLACES = r"top|upper|above|bottom|lower|below|left|right|cent(?:er|re)(?:ed|d)?|middle|corners?"
# What may stand around a request that was understood without making it another request.
_DETAIL_WORDS = (
    rf"{COLOUR}|[0-9]+x[0-9]+|[-+]?[0-9]+(?:\.[0-9]+)?[ \t]*(?:%|px\b|x\b)?|\b(?:{WEAK}|{STRONG}|{LESS}|{_PLACES}"
    rf"|{'|'.join(NUMBERS)}|percent|pixels?|degrees?|deg|levels?|times|wide|width|high|tall|height|long|radius|blocks?"
    r"|half|third|quarter|square|circle|double|twice|triple|clockwise|counter-?clockwise|anti-?clockwise|horizontal\w*"
    r"|vertical\w*|increas\w+|boost\w*|higher|edges?|around|rounded|big|large|huge|giant|small|tiny|letters|font|rotat\w+|its?elf|original)\b"
)
_DETAIL = re.compile(_DETAIL_WORDS, re.IGNORECASE)
_DETAIL_OF_THING = re.compile(
    rf"{_DETAIL_WORDS}|\b(?:on|wear\w*|heads?|faces?|eyes?|nose|mouth|hair|him|her|his|their|them|man|woman|person|people|boy"
    r"|girl|guy|lady|child|kid|baby|cat|dog|sky|ground|background|air)(?:'s)?\b",
    re.IGNORECASE,
)

Step = Callable[[Image.Image, Request], Image.Image]


@dataclass(frozen=True)
class Rule:
    """What a prompt may say, and what is done then. A `scenic` thing is part of a new picture already."""

    pattern: re.Pattern[str]
    step: Step
    detail: re.Pattern[str] = _DETAIL
    scenic: bool = False


def _rule(words: str, step: Step, scenic: bool = False) -> Rule:
    return Rule(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), step, scenic=scenic)


def _draws(words: str, name: str, scenic: bool = True, known: bool = True) -> Rule:
    """A thing to draw. One that a picture often shows already is not meant by "the": "a hat for the cat"."""
    told = "" if known else "".join(rf"(?<!\b{word} )" for word in ("the", "this", "that", "his", "her", "my", "their"))
    pattern = re.compile(rf"{told}\b(?:{words})\b", re.IGNORECASE)
    return Rule(pattern, partial(additions.thing, name=name), _DETAIL_OF_THING, scenic)


_GAP = rf"[^\n;.,{DONE}]{{0,30}}?"
_NO_COLOUR = rf"(?![\w-]|[ \t]+(?:{COLOUR_WORD})\b)"

# Tried from the top: a rule sees only what those above it left, so longer phrases stand above the words they contain.
RULES: tuple[Rule, ...] = (
    Rule(
        re.compile(
            r"(?:\b(?:text|words?|caption|title|heading|label|sign|slogan|saying|says?|reads?|reading|watermark|write)[ \t:,]*"
            r"(?:(?:saying|that says|reading|of)[ \t:]*)?)?"
            r"(?:\"(?P<double>[^\"]{1,400})\"|(?<!\w)'(?P<single>[^'\n]{1,400})'(?!\w))",
            re.IGNORECASE,
        ),
        additions.text,
    ),
    _rule(r"gr[ae]y[ -]?scale\w*|black[ -](?:and|&|n)[ -]white|b ?& ?w|monochrom\w*|colou?rless", filters.grayscale),
    _rule(r"(?:remove|without|no)[ \t]+(?:all[ \t]+)?(?:the[ \t]+|of the )?(?:colou?rs?|saturation)", filters.grayscale),
    _rule(r"sepia|vintage|retro|antique|old[- ]fashioned|old(?:er)?[- ](?:photo\w*|pictures?|look|style)", filters.sepia),
    _rule(r"invert\w*|negative|inverse", filters.invert),
    _rule(rf"(?:flip|mirror)\w*\b{_GAP}\b(?:vertical\w*|upside[ -]down)|vertical(?:ly)?[ -](?:flip|mirror)\w*", geometry.flip),
    _rule(r"upside[ -]down|flip\w*\b(?: (?:it|the (?:image|picture|photo)))? over|top to bottom", geometry.flip),
    _rule(rf"(?:flip|mirror)\w*\b{_GAP}\bhorizontal\w*|horizontal(?:ly)?[ -](?:flip|mirror)\w*", geometry.mirror),
    _rule(r"mirror\w*|flip\w*", geometry.mirror),
    _rule(
        rf"rotat\w*|tilt\w*|turn\w*(?={_GAP}\b(?:left|right|[0-9]+ ?deg\w*|(?:counter|anti)?-?clockwise)\b)", geometry.rotate
    ),
    _rule(rf"(?:crop|cut)\w*\b{_GAP}\bcircle|circular|circle crop|(?:into|in|as) a circle", geometry.circle),
    _rule(rf"round(?:ed|ing)?\b{_GAP}\b(?:corners?|edges?)|corners? rounded", geometry.rounded),
    _rule(r"crop\w*|trim\w*|keep only|only keep|keep (?=the)", geometry.crop),
    _rule(
        r"resiz\w*|re-?scal\w*|(?:up|down)?-?scal(?:e|ed|ing)\b(?: (?:up|down))?|shrink\w*|shrunk|enlarg\w*|bigger"
        r"|larger|smaller|thumbnail|(?:half|double|twice|triple|[0-9]+%)(?: (?:the|its|of))*(?: original)? size",
        geometry.resize,
    ),
    _rule(r"borders?", additions.border),
    _rule(r"frame|framed|framing", partial(additions.border, frame=True)),
    _rule(r"vignett\w*", filters.vignette),
    _rule(r"blur\w*|out of focus|defocus\w*|soften\w*|soft focus", filters.blur),
    _rule(r"sharp\w*|crisp\w*|unblur\w*", filters.sharpen),
    _rule(r"pixel[- ]?art|pixel(?:at|i[sz])\w*|mosaic|8[- ]bit", filters.pixelate),
    _rule(r"posteri[sz]\w*|pop[- ]art|(?:fewer|reduce(?: the)?(?: number of)?) colou?rs", filters.posterize),
    _rule(r"emboss\w*|bas[- ]relief", filters.emboss),
    _rule(r"(?:pencil|charcoal|line|hand)[- ]?(?:sketch|draw(?:ing|n))|sketch\w*|pencil", filters.sketch),
    _rule(
        r"edge[- ]detect\w*|(?:(?:detect|find|show|highlight|trace|only) (?:the )?)?edges|outlines?|contours?", filters.edges
    ),
    _rule(r"desaturat\w*|mute[d]?|washed[- ]out|faded|pale colou?rs", partial(filters.enhance, kind="colour", up=False)),
    _rule(r"(?:more|less) colou?r|colou?rful\w*|satur\w*|vivid\w*|vibran\w*", partial(filters.enhance, kind="colour")),
    _rule(r"contrast\w*", partial(filters.enhance, kind="contrast")),
    _rule(
        rf"dark(?:er|en\w*)?{_NO_COLOUR}|dim(?:mer|med)?|(?:less|too much) light",
        partial(filters.enhance, kind="brightness", up=False),
    ),
    _rule(rf"bright(?:er|en\w*|ness)?{_NO_COLOUR}|lighter|lighten\w*|more light", partial(filters.enhance, kind="brightness")),
    _rule(r"warmer|warm(?: tones?| colou?rs?)?", partial(filters.warmth, colour="orange")),
    _rule(r"cooler|colder|cool(?: tones?| colou?rs?)", partial(filters.warmth, colour="blue")),
    _draws(r"top[ -]?hats?|hats?", "hat", scenic=False),
    _draws(r"crowns?|tiara", "crown", scenic=False),
    _draws(r"(?:pair of )?(?:sun[ -]?glasses|shades)", "sunglasses", scenic=False),
    _draws(r"(?:pair of )?(?:(?:eye|reading)[ -]?)?(?:glasses|spectacles)", "glasses", scenic=False),
    _draws(r"mou?staches?", "moustache", scenic=False),
    _rule(r"rainbows?", lambda image, _: weather.rainbow(image), scenic=True),
    _rule(r"snow(?:y|ing|fall|flakes?)?", lambda image, request: weather.snow(image, request.dice), scenic=True),
    _rule(r"rain(?:y|ing|drops?)?", lambda image, request: weather.rain(image, request.dice), scenic=True),
    _draws(r"sun", "sun"),
    _draws(r"(?:crescent )?moon", "moon"),
    _draws(r"stars?", "star", known=False),
    _draws(r"hearts?", "heart", known=False),
    _draws(r"clouds?", "cloud", known=False),
    _draws(r"flowers?", "flower", known=False),
    _draws(r"trees?", "tree", known=False),
    _draws(r"house", "house", known=False),
    _draws(r"cat|kitten", "cat", known=False),
    _rule(rf"{COLOUR}[ \t]+(?:tint|tone|hue|filter|cast|wash)", filters.tint),
    Rule(
        re.compile(
            r"\b(?:make|turn|paint|colou?r(?:i[sz]e)?|tint|dye)\b(?P<object>(?:[ \t]+[\w']+){0,4}?)[ \t]+"
            rf"{COLOUR}(?![ \t]*{DONE})",
            re.IGNORECASE,
        ),
        filters.tint,
    ),
)
