"""Edits and makes real pictures from a plain English prompt: all that the sandbox provider does to pixels."""

import bisect
import io
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from .drawing import (
    COLOUR_WORD,
    COLOURS,
    THINGS,
    Canvas,
    Colour,
    Point,
    caption,
    draw_thing,
    lettering,
    mix,
    overlay,
    rain,
    rainbow,
    scene,
    snow,
)

__all__ = ["UnreadableImage", "edit"]

_MAX_PIXELS = 64_000_000  # what a reference may declare
_MAX_SIDE = 4096  # what is worked on
_MAX_SIZE = 8192  # what may be asked for
_MAX_STEPS = 24  # a prompt that repeats "blur" ten thousand times is served the first few
_READS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_DEFAULT_SIZE = (1024, 1024)
_BLACK: Colour = (0, 0, 0)
_WHITE: Colour = (255, 255, 255)


class UnreadableImage(ValueError):
    """A reference that is no image, is cut, or is too large to decode; `index` says which one, from 0."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason

    def __str__(self) -> str:
        return f"image {self.index + 1} of the request {self.reason}"


def edit(
    prompt: str,
    images: Sequence[bytes],
    *,
    size: tuple[int, int] | None = None,
    output_format: str = "png",
    seed: int = 0,
    mask: bytes | None = None,
) -> bytes:
    """The encoded picture that `prompt` asks for: drawn from nothing, or made of the encoded `images`.

    Every request in the prompt that is understood is carried out, in the order of the text. When some of it is not,
    the whole prompt is written onto the picture too. `mask` is a PNG whose fully transparent pixels may change.
    The same arguments give the same bytes.
    """
    if output_format not in _ENCODERS:
        raise ValueError(f"output_format must be one of {', '.join(_ENCODERS)}, not {output_format[:40]!r}")
    if size is not None and not all(1 <= side <= _MAX_SIZE for side in size):
        raise ValueError(f"size must have sides from 1 to {_MAX_SIZE} pixels, not {size[0]}x{size[1]}")
    if mask is not None and not images:
        raise ValueError("a mask needs an image that it belongs to")
    text = _tidy(prompt)
    plan = _plan(text, references=len(images), seed=seed)
    if not images:
        picture = plan.carry_out(scene(text, size or _DEFAULT_SIZE, seed), size)
    elif mask is not None:
        picture = _fitted(_edit_masked(plan, images, mask), size)
    else:
        pictures = [_shrunk(_reference(images, index), len(images)) for index in range(len(images))]
        picture = plan.carry_out(plan.compose(pictures), size)
    return _ENCODERS[output_format](picture)


def _edit_masked(plan: "_Plan", images: Sequence[bytes], mask: bytes) -> Image.Image:
    """Work within the box around what the mask lets change, so that a hat lands there and not under the mask."""
    first = _reference(images, 0)
    free = _free_area(mask, first.size)
    first = _shrunk(first, 1)
    free = free.resize(first.size, Image.Resampling.NEAREST)
    others = [_shrunk(_reference(images, index), len(images)) for index in range(1, len(images))]
    box = free.getbbox()
    if box is None:
        return first
    area = (box[2] - box[0], box[3] - box[1])
    patch = ImageOps.fit(plan.compose(others), area) if others else first.crop(box)
    first.paste(plan.carry_out(patch, area), box, free.crop(box))
    return first


# ---- reading and writing files -------------------------------------------------------------------------------------


def _reference(images: Sequence[bytes], index: int) -> Image.Image:
    try:
        return _decode(images[index])
    except ValueError as error:
        raise UnreadableImage(index, str(error)) from error


def _decode(data: bytes) -> Image.Image:
    """The first frame, upright, as RGBA, without the file's metadata."""
    try:
        with Image.open(io.BytesIO(data), formats=_READS) as opened:
            width, height = opened.size
            too_large = width * height > _MAX_PIXELS
            upright = None if too_large else ImageOps.exif_transpose(opened)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError("declares more than 64 megapixels") from error
    except Exception as error:  # a damaged file makes Pillow's readers fail in every way there is
        raise ValueError("cannot be read: it is damaged, cut short, or no image in a known format") from error
    if upright is None:
        raise ValueError(f"declares {width}x{height} pixels, more than 64 megapixels")
    if upright.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip instead of scale
        upright = upright.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    clean = upright.convert("RGBA")
    clean.info = {}
    return clean


def _free_area(mask: bytes, size: tuple[int, int]) -> Image.Image:
    """White where the mask is fully transparent."""
    try:
        with Image.open(io.BytesIO(mask), formats=_READS) as opened:
            if opened.size == size and not opened.has_transparency_data:
                raise ValueError("has no alpha channel: its transparent pixels say what may change")
        decoded = _decode(mask)
    except OSError as error:
        raise ValueError("the mask cannot be read: it is no image in a known format") from error
    except ValueError as error:
        raise ValueError(f"the mask {error}") from error
    if decoded.size != size:
        sizes = f"{decoded.width}x{decoded.height} and the first image {size[0]}x{size[1]}"
        raise ValueError(f"the mask must have the dimensions of the first image: the mask is {sizes}")
    return decoded.getchannel("A").point([255] + [0] * 255)


def _shrunk(image: Image.Image, among: int = 1) -> Image.Image:
    """The picture within the bounds of what we work on; many at once get less each."""
    limit = _MAX_SIDE if among <= 4 else _MAX_SIDE // 2
    if max(image.size) > limit:
        image.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    return image


def _fitted(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    return image if size is None or image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _without_idle_alpha(image: Image.Image) -> Image.Image:
    return image.convert("RGB") if image.getchannel("A").getextrema() == (255, 255) else image


def _on_white(image: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", image.size, _WHITE)
    return Image.alpha_composite(ground, image).convert("RGB")


_ENCODERS: dict[str, Callable[[Image.Image], bytes]] = {
    "png": lambda image: _saved(_without_idle_alpha(image), "PNG"),
    "jpeg": lambda image: _saved(_on_white(image), "JPEG", quality=92),
    "webp": lambda image: _saved(_without_idle_alpha(image), "WEBP", quality=90),
}


# ---- understanding the prompt --------------------------------------------------------------------------------------

_DONE = "\0"  # stands in for every character that a rule has understood; a prompt is rid of it first
_COLOUR = (
    r"(?:\b(?P<shade>light|pale|dark|deep|bright)[ -]?)?"
    rf"(?:\b(?P<name>{COLOUR_WORD})(?:ish)?\b|(?P<hex>#[0-9a-f]{{6}})\b)"
)
_COLOUR_PATTERN = re.compile(_COLOUR, re.IGNORECASE)
_WEAK = (
    r"slight(?:ly)?|(?:a )?bit|(?:a )?little|subtl[ey]|gent(?:le|ly)|soft(?:ly)?|light(?:ly)?|mild(?:ly)?|somewhat|thin"
)
_STRONG = (
    r"very|much|(?:a )?lot|strong(?:ly|er)?|heav(?:y|ily)|really|super|extreme(?:ly)?|intense(?:ly)?|way|highly|thick"
    r"|totally|completely"
)
_LESS = r"less|reduc\w+|lower\w*|decreas\w+|low|drop|weaken|weaker|too|minus"
_PLACES = r"top|upper|above|bottom|lower|below|left|right|cent(?:er|re)(?:ed|d)?|middle|corners?"
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
            "nine": 9, "ten": 10, "some": 3, "few": 3, "several": 4, "many": 7, "lots": 9}  # fmt: skip
_BREAK = re.compile(
    r"[\n;,!?]|\.(?![0-9])|\b(?:and|then|but|plus|now|also)\b|\bwith(?=[ \t]+an?[ \t]+(?!width|thick|thin|radius|colou?r))",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"\b(?:no|not|don't|dont|never|without|remov\w+|delete|erase|take (?:off|away)|get rid of|instead of)[ \t]+"
    r"(?:(?!(?:and|then|but)\b)[\w']+[ \t]+){0,3}$",
    re.IGNORECASE,
)
# What may stand around a request that was understood without making it another request.
_DETAIL_WORDS = (
    rf"{_COLOUR}|[0-9]+x[0-9]+|[-+]?[0-9]+(?:\.[0-9]+)?[ \t]*(?:%|px\b|x\b)?|\b(?:{_WEAK}|{_STRONG}|{_LESS}|{_PLACES}"
    rf"|{'|'.join(_NUMBERS)}|percent|pixels?|degrees?|deg|levels?|times|wide|width|high|tall|height|long|radius|half|third|quarter|square|circle"
    r"|double|twice|triple|clockwise|counter-?clockwise|anti-?clockwise|horizontal\w*|vertical\w*|increas\w+|boost\w*|higher"
    r"|edges?|around|rounded|big|large|huge|giant|small|tiny|letters|font|rotat\w+|its?elf|original)\b"
)
_DETAIL = re.compile(_DETAIL_WORDS, re.IGNORECASE)
_DETAIL_OF_THING = re.compile(
    rf"{_DETAIL_WORDS}|\b(?:on|wear\w*|heads?|faces?|eyes?|nose|mouth|hair|him|her|his|their|them|man|woman|person|people|boy"
    r"|girl|guy|lady|child|kid|baby|cat|dog|sky|ground|background|air)(?:'s)?\b",
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
class Request:
    """One thing that a prompt asks for: the words that named it, and those around it in the same clause."""

    match: re.Match[str]
    before: str
    after: str
    dice: random.Random

    @property
    def words(self) -> str:
        return f"{self.before} {self.match[0]} {self.after}"

    def says(self, pattern: str) -> re.Match[str] | None:
        """A match after the request, or else before it, or else in it: "rotate 30" but also "20% brighter"."""
        found = (re.search(rf"(?:{pattern})", text, re.IGNORECASE) for text in (self.after, self.before, self.match[0]))
        return next(filter(None, found), None)

    def number(self, unit: str) -> float | None:
        found = self.says(rf"(?<![\w.])([0-9]{{1,5}}(?:\.[0-9]{{1,4}})?)[ \t]*(?:{unit})")
        return float(found[1]) if found else None

    @property
    def strength(self) -> float:
        if self.says(rf"\b(?:{_STRONG})\b"):
            return 2.2
        return 0.5 if self.says(rf"\b(?:{_WEAK})\b") else 1.0

    @property
    def percent(self) -> float | None:
        number = self.number("%|percent")
        return None if number is None else number / 100

    @property
    def less(self) -> bool:
        return bool(re.search(rf"\b(?:{_LESS})\b", f"{self.before} {self.match[0]}", re.IGNORECASE))

    @property
    def colour(self) -> Colour | None:
        """The nearest colour before what was named ("a red hat"), or else the first one after it ("a hat in red")."""
        found = [*list(_COLOUR_PATTERN.finditer(self.before))[::-1], *_COLOUR_PATTERN.finditer(self.after)]
        return _colour_of(found[0]) if found else None

    @property
    def place(self) -> tuple[float | None, float | None]:
        """Where on the picture it should be, across and down, as far as the words say so."""
        middle = 0.5 if self.says(r"\b(?:cent(?:er|re)|middle)") else None
        across = 0.18 if self.says(r"\bleft\b") else 0.82 if self.says(r"\bright\b") else middle
        down = 0.16 if self.says(r"\b(?:top|upper)\b") else 0.82 if self.says(r"\b(?:bottom|lower)\b") else middle
        return across, down


Step = Callable[[Image.Image, Request], Image.Image]


@dataclass(frozen=True)
class Rule:
    """What a prompt may say, and what is done then. A `scenic` thing is part of a new picture already."""

    pattern: re.Pattern[str]
    step: Step
    detail: re.Pattern[str] = _DETAIL
    scenic: bool = False


@dataclass(frozen=True)
class _Plan:
    """What a prompt comes to."""

    steps: list[tuple[Step, Request]]
    compose: Callable[[Sequence[Image.Image]], Image.Image]
    note: str  # what to write onto the picture

    def carry_out(self, picture: Image.Image, size: tuple[int, int] | None) -> Image.Image:
        for step, request in self.steps:
            picture = _shrunk(step(picture, request))
        return caption(_fitted(picture, size), self.note)


def _tidy(prompt: str) -> str:
    straight = prompt.translate(_STRAIGHT)
    return "".join(letter if letter >= " " or letter == "\n" else " " for letter in straight).strip()


_STRAIGHT = str.maketrans({"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u00ab": '"', "\u00bb": '"', "\u2018": "'",
                           "\u2019": "'", "\u00d7": "x", "\u00b0": " degrees ", "\r": "\n", "\x7f": " "})  # fmt: skip


def _plan(text: str, *, references: int, seed: int) -> _Plan:
    """Every rule takes its words out of what the rules before it left; what stays to the end was not understood."""
    found: list[tuple[re.Match[str], Rule]] = []
    rest = text

    def take(rule: Rule, match: re.Match[str]) -> str:
        if _NEGATED.search(rest[max(0, match.start() - 60) : match.start()]):
            return match[0]
        found.append((match, rule))
        return _DONE * len(match[0])

    for rule in RULES:
        if references or not rule.scenic:
            rest = rule.pattern.sub(partial(take, rule), rest)
    found.sort(key=lambda pair: pair[0].start())
    dropped = found[_MAX_STEPS:]
    steps, rest = _with_surroundings(found[:_MAX_STEPS], rest, seed)
    compose, rest = _arrangement(rest) if references > 1 else (_single, rest)
    words = re.finditer(r"[^\W_]+", rest.replace("'s", ""))
    understood = (steps or references > 1) and not dropped and all(_FILLER.fullmatch(word[0]) for word in words)
    return _Plan(steps, compose, "" if understood and references else text)


def _with_surroundings(
    found: list[tuple[re.Match[str], Rule]], rest: str, seed: int
) -> tuple[list[tuple[Step, Request]], str]:
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
        begin, finish = min(begin, start), max(finish, end)
        dice = random.Random(f"{seed}/{number}")  # noqa: S311 - snowflakes, not secrets
        steps.append((rule.step, Request(match, rest[begin:start], rest[end:finish], dice)))
        for low, high in ((begin, start), (end, finish)):
            left = left[:low] + rule.detail.sub(lambda word: _DONE * len(word[0]), left[low:high]) + left[high:]
        if match.groupdict().get("object"):  # "make the sky blue": we tint, and do not know a sky
            low, high = match.span("object")
            left = left[:low] + match["object"] + left[high:]
    return steps, left


def _colour_of(match: re.Match[str]) -> Colour:
    if match["hex"]:
        red, green, blue = bytes.fromhex(match["hex"][1:])
        return red, green, blue
    colour = COLOURS[match["name"].lower()]
    if not match["shade"] or match["shade"].lower() == "bright":
        return colour
    return mix(colour, _WHITE if match["shade"].lower() in ("light", "pale") else _BLACK, 0.45)


# ---- several references --------------------------------------------------------------------------------------------


def _single(pictures: Sequence[Image.Image]) -> Image.Image:
    return pictures[0]


def _strip(pictures: Sequence[Image.Image], down: bool = False) -> Image.Image:
    """The pictures in a row at one height, or in a column at one width."""
    if down:
        turned = [picture.transpose(Image.Transpose.TRANSPOSE) for picture in pictures]
        return _strip(turned).transpose(Image.Transpose.TRANSPOSE)
    ratios = [min(4.0, picture.width / picture.height) for picture in pictures]  # a mere line does not push out the rest
    height = max(1, round(min(max(picture.height for picture in pictures), _MAX_SIDE / sum(ratios))))
    parts = [ImageOps.fit(picture, (max(1, round(height * ratio)), height), Image.Resampling.LANCZOS)
             for picture, ratio in zip(pictures, ratios, strict=True)]  # fmt: skip
    row = Image.new("RGBA", (sum(part.width for part in parts), height))
    left = 0
    for part in parts:
        row.paste(part, (left, 0))
        left += part.width
    return row


def _column(pictures: Sequence[Image.Image]) -> Image.Image:
    return _strip(pictures, down=True)


def _collage(pictures: Sequence[Image.Image]) -> Image.Image:
    columns = len(pictures) if len(pictures) <= 3 else math.ceil(math.sqrt(len(pictures)))
    return _column([_strip(pictures[start : start + columns]) for start in range(0, len(pictures), columns)])


def _blend(pictures: Sequence[Image.Image]) -> Image.Image:
    result = pictures[0]
    for number, picture in enumerate(pictures[1:], 2):
        result = Image.blend(result, _fitted(picture, result.size), 1 / number)
    return result


def _inset(pictures: Sequence[Image.Image], base: int = 0, place: Point = (0.5, 0.6)) -> Image.Image:
    """All other pictures, smaller, on one of them."""
    result = pictures[base].copy()
    others = [picture for number, picture in enumerate(pictures) if number != base]
    side = min(0.45, 0.9 / len(others)) * min(result.size)
    for number, picture in enumerate(others):
        small = ImageOps.contain(picture, (max(1, round(side)), max(1, round(side))), Image.Resampling.LANCZOS)
        x = place[0] if len(others) == 1 else (number + 0.5) / len(others)
        overlay(result, small, (round((result.width - small.width) * x), round((result.height - small.height) * place[1])))
    return result


_ON = r"(?:on|onto|in|into|inside|over|to)"
_UNTIL = rf"[^\n;.,{_DONE}]"
_INSET = re.compile(
    rf"\b(?:put|place|paste|insert|stick|embed|add)\b{_UNTIL}{{1,80}}?\b{_ON}\b{_UNTIL}{{0,60}}"
    r"|\bpicture[- ]in[- ]picture\b|\binset\b",
    re.IGNORECASE,
)
_JOINING = re.compile(r"\b(?:combin\w*|join\w*|merg\w*|put)\b", re.IGNORECASE)
_ARRANGEMENTS: list[tuple[str, Callable[[Sequence[Image.Image]], Image.Image]]] = [
    (r"\bstack\w*|\bvertical\w*|\b(?:on top of|above|below) (?:each|one) (?:an)?other\b|\bin a column\b", _column),
    (r"\bcollage\b|\bgrid\b|\bmontage\b|\bmosaic\b", _collage),
    (r"\bside[- ]by[- ]side\b|\bnext to (?:each|one) (?:an)?other\b|\bin a row\b|\bhorizontal\w*", _strip),
    (r"\bblend\w*|\boverla\w+|\bsuperimpos\w*|\bdouble exposure\b|\bmix\w*|\bmorph\w*", _blend),
]


def _arrangement(rest: str) -> tuple[Callable[[Sequence[Image.Image]], Image.Image], str]:
    """How the words ask to bring several pictures together, and what else there is in them."""
    for pattern, compose in _ARRANGEMENTS:
        if re.search(pattern, rest, re.IGNORECASE):
            return compose, _JOINING.sub("", re.sub(pattern, "", rest, flags=re.IGNORECASE))
    match = _INSET.search(rest)
    if match is None:
        return _collage, _JOINING.sub("", rest)
    if "inset" in match[0].lower() or match[0].lower().startswith("picture"):
        return partial(_inset, place=(0.94, 0.94)), rest[: match.start()] + rest[match.end() :]
    across, down = Request(match, "", "", random.Random(0)).place  # noqa: S311 - nothing is diced here
    onto_second = re.search(rf"\b(?:first|1st|1)\b.*\b{_ON}\b.*\b(?:second|2nd|2)\b", match[0], re.IGNORECASE)
    place = (0.5 if across is None else across, 0.6 if down is None else down)
    return partial(_inset, base=1 if onto_second else 0, place=place), rest[: match.start()] + rest[match.end() :]


# ---- what can be done to a picture ---------------------------------------------------------------------------------


def _recoloured(image: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Change the colours and keep the alpha channel."""
    result = change(image.convert("RGB")).convert("RGBA")
    result.putalpha(image.getchannel("A"))
    return result


def _grayscale(image: Image.Image, request: Request) -> Image.Image:
    return _recoloured(image, ImageOps.grayscale)


def _toned(image: Image.Image, dark: Colour, middle: Colour, light: Colour, share: float = 1.0) -> Image.Image:
    def change(picture: Image.Image) -> Image.Image:
        toned = ImageOps.colorize(ImageOps.grayscale(picture), dark, light, middle)
        return Image.blend(picture, toned, share)

    return _recoloured(image, change)


def _sepia(image: Image.Image, request: Request) -> Image.Image:
    return _toned(image, (34, 20, 10), (156, 116, 74), (255, 242, 212))


def _tinted(image: Image.Image, colour: Colour, strength: float) -> Image.Image:
    share = {0.5: 0.35, 1.0: 0.65}.get(strength, 0.9)
    return _toned(image, mix(colour, _BLACK, 0.85), colour, mix(colour, _WHITE, 0.8), share)


def _tint(image: Image.Image, request: Request) -> Image.Image:
    colour = _colour_of(request.match)
    if len(set(colour)) == 1 and colour != _WHITE:
        return _grayscale(image, request)
    return _tinted(image, colour, request.strength)


def _warmth(image: Image.Image, request: Request, colour: str) -> Image.Image:
    return _tinted(image, COLOURS[colour], 0.5)


def _invert(image: Image.Image, request: Request) -> Image.Image:
    return _recoloured(image, ImageOps.invert)


def _posterize(image: Image.Image, request: Request) -> Image.Image:
    levels = request.number("levels?|colou?rs?|shades?") or {0.5: 16, 1.0: 6}.get(request.strength, 4)
    bits = max(1, min(8, math.ceil(math.log2(max(2.0, levels)))))
    return _recoloured(image, lambda picture: ImageOps.posterize(picture, bits))


def _enhance(image: Image.Image, request: Request, kind: str, up: bool = True) -> Image.Image:
    """Brightness, contrast or saturation: by the percentage that is given, or as much as the words say."""
    usual = {"brightness": 0.35, "contrast": 0.5, "colour": 0.7}[kind] * request.strength
    amount = request.percent if request.percent is not None else usual
    factor = 1 + amount if up != request.less else max(0.0, 1 - min(amount, 0.9 if request.percent is None else 1.0))
    tool = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast, "colour": ImageEnhance.Color}[kind]
    return _recoloured(image, lambda picture: tool(picture).enhance(min(factor, 10.0)))


def _blur(image: Image.Image, request: Request) -> Image.Image:
    radius = request.number("px|pixels?") or request.number("") or min(image.size) * 0.02 * request.strength
    return image.filter(ImageFilter.GaussianBlur(min(radius, min(image.size) / 2)))


def _sharpen(image: Image.Image, request: Request) -> Image.Image:
    sharper = ImageFilter.UnsharpMask(max(1.0, min(image.size) / 500), round(160 * request.strength), 1)
    return _recoloured(image, lambda picture: picture.filter(sharper))


def _pixelate(image: Image.Image, request: Request) -> Image.Image:
    block = request.number("px|pixels?") or max(2.0, min(image.size) / 40 * request.strength)
    few = (max(1, round(image.width / block)), max(1, round(image.height / block)))
    return image.resize(few, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def _emboss(image: Image.Image, request: Request) -> Image.Image:
    """The picture less itself, moved aside by as much as its size makes visible."""
    step = max(1, min(image.size) // 350)

    def change(picture: Image.Image) -> Image.Image:
        gray = ImageOps.grayscale(picture)
        result = ImageChops.subtract(gray, ImageChops.offset(gray, step), 0.5, 128)
        for strip in ((0, 0, image.width, step), (0, 0, step, image.height)):  # what came around from the other side
            result.paste(128, strip)
        return result

    return _recoloured(image, change)


def _contours(picture: Image.Image, gain: float) -> Image.Image:
    """Light where the picture is darker than what surrounds it; unlike a 3x3 kernel it scales with the picture."""
    gray = ImageOps.grayscale(picture)
    wide = gray.filter(ImageFilter.GaussianBlur(max(1.0, min(picture.size) / 220)))
    difference = ImageChops.difference(wide, gray)
    return difference.point([min(255, round(value * gain)) for value in range(256)])


def _sketch(image: Image.Image, request: Request) -> Image.Image:
    def change(picture: Image.Image) -> Image.Image:
        paper = ImageOps.grayscale(picture).point([200 + round(value * 55 / 255) for value in range(256)])
        return ImageChops.multiply(paper, ImageOps.invert(_contours(picture, 6 * request.strength)))

    return _recoloured(image, change)


def _edges(image: Image.Image, request: Request) -> Image.Image:
    return _recoloured(image, lambda picture: _contours(picture, 9 * request.strength))


def _vignette(image: Image.Image, request: Request) -> Image.Image:
    depth = {0.5: 0.5, 1.0: 0.8}.get(request.strength, 1.0)
    table = [round(min(1.0, max(0.0, (value - 90) / 130)) ** 1.5 * depth * 255) for value in range(256)]
    shade = Image.radial_gradient("L").resize(image.size, Image.Resampling.BICUBIC).point(table)
    colour = request.colour or _BLACK
    return _recoloured(image, lambda picture: Image.composite(Image.new("RGB", image.size, colour), picture, shade))


def _mirror(image: Image.Image, request: Request) -> Image.Image:
    return ImageOps.mirror(image)


def _flip(image: Image.Image, request: Request) -> Image.Image:
    return ImageOps.flip(image)


def _rotate(image: Image.Image, request: Request) -> Image.Image:
    half = 180.0 if request.says(r"\b(?:half|around|upside)\b") else None
    angle = request.number("degrees?|deg") or request.number("") or half or (10.0 if request.strength == 0.5 else 90.0)
    if not request.says(r"\bleft\b|\b(?:counter|anti)[- ]?clockwise\b"):  # Pillow turns against the clock
        angle = -angle
    if request.says(r"(?<!\w)-[0-9]"):
        angle = -angle
    turns = {0.0: None, 90.0: Image.Transpose.ROTATE_90, 180.0: Image.Transpose.ROTATE_180, 270.0: Image.Transpose.ROTATE_270}
    if angle % 360 in turns:
        turn = turns[angle % 360]
        return image if turn is None else image.transpose(turn)
    return image.rotate(angle, Image.Resampling.BICUBIC, expand=True)


_BY = r"([0-9]{1,5})[ \t]*(?:px|pixels?)?[ \t]*(?:x|by|\*)[ \t]*([0-9]{1,5})"


def _crop(image: Image.Image, request: Request) -> Image.Image:
    width, height = map(float, image.size)
    shape, ratio = request.says(_BY), request.says(r"([1-9][0-9]?)[ \t]*:[ \t]*([1-9][0-9]?)")
    part = {"half": 2, "third": 3, "quarter": 2}.get((request.says(r"\b(half|third|quarter)\b") or {0: ""})[0].lower())
    if shape:
        width, height = min(width, max(1.0, float(shape[1]))), min(height, max(1.0, float(shape[2])))
    elif ratio:
        width, height = _within(width, height, int(ratio[1]) / int(ratio[2]))
    elif part:
        corner = request.says(r"\bquarter\b")
        width = width / part if corner or request.says(r"\b(?:left|right)\b") else width
        height = height / part if corner or not request.says(r"\b(?:left|right)\b") else height
    elif request.says(r"\bsquare\b"):
        width, height = _within(width, height, 1.0)
    else:
        share = 0.75 if request.percent is None else min(1.0, request.percent)
        share = 1 - share if request.percent is not None and request.says(r"\bby\b") else share
        width, height = width * share, height * share
    across, down = (0.5 if where is None else {0.18: 0.0, 0.16: 0.0, 0.82: 1.0}.get(where, 0.5) for where in request.place)
    area = (max(1, round(width)), max(1, round(height)))
    left, top = round((image.width - area[0]) * across), round((image.height - area[1]) * down)
    return image.crop((left, top, left + area[0], top + area[1]))


def _within(width: float, height: float, ratio: float) -> tuple[float, float]:
    """The largest area of that shape which fits."""
    return min(width, height * ratio), min(height, width / ratio)


def _resize(image: Image.Image, request: Request) -> Image.Image:
    smaller = bool(request.says(r"\b(?:shrink\w*|smaller|downscal\w*|reduc\w*|down)\b"))
    larger = bool(request.says(r"\b(?:enlarg\w*|bigger|larger|upscal\w*|up)\b"))
    shape = request.says(_BY)
    if shape:
        return _scaled(image, float(shape[1]), float(shape[2]))
    wide = request.says(r"([0-9]{2,5})[ \t]*(?:px|pixels?)?[ \t]*(?:in )?(?:wide|width)|width[a-z \t]*?([0-9]{2,5})")
    high = request.says(r"([0-9]{2,5})[ \t]*(?:px|pixels?)?[ \t]*(?:in )?(?:high|tall|height)|height[a-z \t]*?([0-9]{2,5})")
    side = request.number("px|pixels?") or (128.0 if request.says(r"\b(?:thumbnail|icon)\b") else None)
    times = request.number(r"x\b|times")
    if wide:
        factor = float(wide[1] or wide[2]) / image.width
    elif high:
        factor = float(high[1] or high[2]) / image.height
    elif request.percent is not None:
        by = bool(request.says(r"\bby\b"))
        factor = 1 - request.percent if by and smaller else 1 + request.percent if by and larger else request.percent
    elif times:
        factor = 1 / times if smaller else times
    elif side:
        factor = side / max(image.size)
    elif request.says(r"\b(?:double|twice|triple)\b") or larger:
        factor = 3.0 if request.says(r"\btriple\b") else 2.0
    else:
        factor = 0.5
    return _scaled(image, image.width * factor, image.height * factor)


def _scaled(image: Image.Image, width: float, height: float) -> Image.Image:
    shrink = min(1.0, _MAX_SIDE / max(width, height, 1.0))
    area = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return image if area == image.size else image.resize(area, Image.Resampling.LANCZOS)


def _border(image: Image.Image, request: Request, frame: bool = False) -> Image.Image:
    usual = min(image.size) * (0.07 if frame else 0.05) * request.strength
    share = request.percent
    width = request.number("px|pixels?") or request.number(r"(?!%|[ \t]*percent)") or usual
    width = min(image.size) * share if share is not None else width
    edge = max(1, round(min(width, min(image.size), 1000.0)))
    bright = image.convert("L").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    plain = _BLACK if isinstance(bright, int) and bright > 190 else _WHITE
    colour = request.colour or (COLOURS["brown"] if frame else plain)
    result = Image.new("RGBA", (image.width + 2 * edge, image.height + 2 * edge), colour)
    if frame:  # a moulding: a dark rim, the wood, and a gilt line next to the picture
        for inset, tone in ((0.0, 0.5), (0.12, 0.0), (0.72, 0.45), (0.8, -0.5)):
            gap = round(edge * inset)
            shade = mix(colour, _BLACK, tone) if tone >= 0 else COLOURS["gold"]
            result.paste(shade, (gap, gap, result.width - gap, result.height - gap))
    result.paste(image, (edge, edge))
    return result


def _rounded(image: Image.Image, request: Request) -> Image.Image:
    radius = request.number("px|pixels?") or min(image.size) * 0.12 * request.strength
    return _cut_out(image, min(radius, min(image.size) / 2))


def _circle(image: Image.Image, request: Request) -> Image.Image:
    side = min(image.size)
    return _cut_out(ImageOps.fit(image, (side, side)), side / 2)


def _cut_out(image: Image.Image, radius: float) -> Image.Image:
    canvas = Canvas(*image.size)
    scale = canvas.width / image.width
    canvas.draw.rounded_rectangle((0, 0, canvas.width - 1, canvas.height - 1), radius * scale, (0, 0, 0, 255))
    result = image.copy()
    result.putalpha(ImageChops.multiply(canvas.finish().getchannel("A"), image.getchannel("A")))
    return result


def _text(image: Image.Image, request: Request) -> Image.Image:
    _, down = request.place
    usual = 0.0 if request.says(r"\b(?:title|heading)\b") else 1.0 if request.says(r"\b(?:caption|watermark)\b") else 0.5
    down = usual if down is None else {0.16: 0.0, 0.82: 1.0}.get(down, 0.5)
    words = request.match["double"] or request.match["single"]
    return lettering(image, words, down, request.colour or _WHITE)


def _thing(image: Image.Image, request: Request, name: str) -> Image.Image:
    usual, (across, down) = THINGS[name].place, request.place
    size = 1.5 if request.says(r"\b(?:big|large|huge|giant)\b") else 0.6 if request.says(r"\b(?:small|tiny)\b") else 1.0
    if re.search(r"\b(?:cent(?:er|re)|middle)", request.words, re.IGNORECASE) is None and across is None:
        across = usual[0]
    place = (usual[0] if across is None else across, usual[1] if down is None else down)
    return draw_thing(image, name, colour=request.colour, place=place, size=size, count=_count(request, name))


def _count(request: Request, name: str) -> int:
    if name in ("glasses", "sunglasses"):  # a pair of them is one
        return 1
    said = re.findall(rf"\b({'|'.join(_NUMBERS)}|[0-9]{{1,2}})\b(?![ \t]*(?:%|px))", request.before, re.IGNORECASE)
    if said:
        return max(1, min(12, _NUMBERS.get(said[-1].lower()) or int(said[-1] if said[-1].isdigit() else 1)))
    return 3 if request.match[0].lower().endswith("s") else 1


def _snow(image: Image.Image, request: Request) -> Image.Image:
    return snow(image, request.dice)


def _rain(image: Image.Image, request: Request) -> Image.Image:
    return rain(image, request.dice)


def _rainbow(image: Image.Image, request: Request) -> Image.Image:
    return rainbow(image)


# ---- the table -----------------------------------------------------------------------------------------------------


def _rule(words: str, step: Step, scenic: bool = False) -> Rule:
    return Rule(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), step, scenic=scenic)


def _draws(words: str, name: str, scenic: bool = True, known: bool = True) -> Rule:
    """A thing to draw. One that a picture often shows already is not meant by "the": "a hat for the cat"."""
    told = "" if known else "".join(rf"(?<!\b{word} )" for word in ("the", "this", "that", "his", "her", "my", "their"))
    pattern = re.compile(rf"{told}\b(?:{words})\b", re.IGNORECASE)
    return Rule(pattern, partial(_thing, name=name), _DETAIL_OF_THING, scenic)


_GAP = rf"[^\n;.,{_DONE}]{{0,30}}?"
_NO_COLOUR = rf"(?![\w-]|[ \t]+(?:{COLOUR_WORD})\b)"

# Tried from the top: a rule sees only what those above it left, so longer phrases stand above the words they contain.
RULES: list[Rule] = [
    Rule(
        re.compile(
            r"(?:\b(?:text|words?|caption|title|heading|label|sign|slogan|saying|says?|reads?|reading|watermark|write)[ \t:,]*"
            r"(?:(?:saying|that says|reading|of)[ \t:]*)?)?"
            r"(?:\"(?P<double>[^\"]{1,400})\"|(?<!\w)'(?P<single>[^'\n]{1,400})'(?!\w))",
            re.IGNORECASE,
        ),
        _text,
    ),
    _rule(r"gr[ae]y[ -]?scale\w*|black[ -](?:and|&|n)[ -]white|b ?& ?w|monochrom\w*|colou?rless", _grayscale),
    _rule(r"(?:remove|without|no)[ \t]+(?:all[ \t]+)?(?:the[ \t]+|of the )?(?:colou?rs?|saturation)", _grayscale),
    _rule(r"sepia|vintage|retro|antique|old[- ]fashioned|old(?:er)?[- ](?:photo\w*|pictures?|look|style)", _sepia),
    _rule(r"invert\w*|negative|inverse", _invert),
    _rule(rf"(?:flip|mirror)\w*\b{_GAP}\b(?:vertical\w*|upside[ -]down)|vertical(?:ly)?[ -](?:flip|mirror)\w*", _flip),
    _rule(r"upside[ -]down|flip\w*\b(?: (?:it|the (?:image|picture|photo)))? over|top to bottom", _flip),
    _rule(rf"(?:flip|mirror)\w*\b{_GAP}\bhorizontal\w*|horizontal(?:ly)?[ -](?:flip|mirror)\w*", _mirror),
    _rule(r"mirror\w*|flip\w*", _mirror),
    _rule(rf"rotat\w*|tilt\w*|turn\w*(?={_GAP}\b(?:left|right|[0-9]+ ?deg\w*|(?:counter|anti)?-?clockwise)\b)", _rotate),
    _rule(rf"(?:crop|cut)\w*\b{_GAP}\bcircle|circular|circle crop|(?:into|in|as) a circle", _circle),
    _rule(rf"round(?:ed|ing)?\b{_GAP}\b(?:corners?|edges?)|corners? rounded", _rounded),
    _rule(r"crop\w*|trim\w*|keep only|only keep|keep (?=the)", _crop),
    _rule(
        r"resiz\w*|re-?scal\w*|(?:up|down)?-?scal(?:e|ed|ing)\b(?: (?:up|down))?|shrink\w*|shrunk|enlarg\w*|bigger"
        r"|larger|smaller|thumbnail|(?:half|double|twice|triple|[0-9]+%)(?: (?:the|its|of))*(?: original)? size",
        _resize,
    ),
    _rule(r"borders?", _border),
    _rule(r"frame|framed|framing", partial(_border, frame=True)),
    _rule(r"vignett\w*", _vignette),
    _rule(r"blur\w*|out of focus|defocus\w*|soften\w*|soft focus", _blur),
    _rule(r"sharp\w*|crisp\w*|unblur\w*", _sharpen),
    _rule(r"pixel[- ]?art|pixel(?:at|i[sz])\w*|mosaic|8[- ]bit", _pixelate),
    _rule(r"posteri[sz]\w*|pop[- ]art|(?:fewer|reduce(?: the)?(?: number of)?) colou?rs", _posterize),
    _rule(r"emboss\w*|bas[- ]relief", _emboss),
    _rule(r"(?:pencil|charcoal|line|hand)[- ]?(?:sketch|draw(?:ing|n))|sketch\w*|pencil", _sketch),
    _rule(r"edge[- ]detect\w*|(?:(?:detect|find|show|highlight|trace|only) (?:the )?)?edges|outlines?|contours?", _edges),
    _rule(r"desaturat\w*|mute[d]?|washed[- ]out|faded|pale colou?rs", partial(_enhance, kind="colour", up=False)),
    _rule(r"(?:more|less) colou?r|colou?rful\w*|satur\w*|vivid\w*|vibran\w*", partial(_enhance, kind="colour")),
    _rule(r"contrast\w*", partial(_enhance, kind="contrast")),
    _rule(
        rf"dark(?:er|en\w*)?{_NO_COLOUR}|dim(?:mer|med)?|(?:less|too much) light",
        partial(_enhance, kind="brightness", up=False),
    ),
    _rule(rf"bright(?:er|en\w*|ness)?{_NO_COLOUR}|lighter|lighten\w*|more light", partial(_enhance, kind="brightness")),
    _rule(r"warmer|warm(?: tones?| colou?rs?)?", partial(_warmth, colour="orange")),
    _rule(r"cooler|colder|cool(?: tones?| colou?rs?)", partial(_warmth, colour="blue")),
    _draws(r"top[ -]?hats?|hats?", "hat", scenic=False),
    _draws(r"crowns?|tiara", "crown", scenic=False),
    _draws(r"(?:pair of )?(?:sun[ -]?glasses|shades)", "sunglasses", scenic=False),
    _draws(r"(?:pair of )?(?:(?:eye|reading)[ -]?)?(?:glasses|spectacles)", "glasses", scenic=False),
    _draws(r"mou?staches?", "moustache", scenic=False),
    _rule(r"rainbows?", _rainbow, scenic=True),
    _rule(r"snow(?:y|ing|fall|flakes?)?", _snow, scenic=True),
    _rule(r"rain(?:y|ing|drops?)?", _rain, scenic=True),
    _draws(r"sun", "sun"),
    _draws(r"(?:crescent )?moon", "moon"),
    _draws(r"stars?", "star", known=False),
    _draws(r"hearts?", "heart", known=False),
    _draws(r"clouds?", "cloud", known=False),
    _draws(r"flowers?", "flower", known=False),
    _draws(r"trees?", "tree", known=False),
    _draws(r"house", "house", known=False),
    _draws(r"cat|kitten", "cat", known=False),
    _rule(rf"{_COLOUR}[ \t]+(?:tint|tone|hue|filter|cast|wash)", _tint),
    Rule(
        re.compile(
            r"\b(?:make|turn|paint|colou?r(?:i[sz]e)?|tint|dye)\b(?P<object>(?:[ \t]+[\w']+){0,4}?)[ \t]+"
            rf"{_COLOUR}(?![ \t]*{_DONE})",
            re.IGNORECASE,
        ),
        _tint,
    ),
]
