"""How alike a name in a catalogue and a term of the vocabulary are."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

Words = tuple[str, ...]

TAKEN_FROM = 0.5
"""A likeness from which a source is taken."""
SURE = 0.9
"""A likeness from which a name says what it is."""

_EXACT = 1.0
_WITHOUT_CONTEXT = 0.98
_AMONG_OTHERS = 0.8
_AMONG_OTHERS_ALONE = 0.66
_IN_COMPOUND = 0.6
_ABBREVIATED = 0.58
_BEGINS_COMMENT = 0.7
_IN_COMMENT = 0.54
_A_WORD_MORE = 0.1
_WEAK = 0.55

_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_PART = re.compile(r"[a-z]+|[0-9]+")
_LETTERS = str.maketrans({"ø": "o", "æ": "a", "œ": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})
"""Letters that are not one with an accent."""
_UMLAUT = re.compile(r"(?<=[a-z])([aou])e(?=[a-z])")
_COMPOUND = re.compile(r"(.{2,})(nr|nummer|dat|datum|zeit|uhrzeit)|(.{3,})(id)")
_SHORT_WORD, _LONG_WORD = 3, 5
_KINDS = frozenset({"names", "weak"})
"""What each key may have; anything else that it has says it indirectly."""


def slug(name: str) -> str:
    """Return a name in lower case with underscores, without accents."""
    parted = unicodedata.normalize("NFKD", _BOUNDARY.sub("_", name)).casefold().translate(_LETTERS)
    return "_".join(_PART.findall("".join(each for each in parted if not unicodedata.combining(each))))


@cache
def words_of(name: str) -> Words:
    """Split a name into its words: in lower case, without accents, plurals and fillers."""
    parted = unicodedata.normalize("NFKD", _BOUNDARY.sub(" ", name)).casefold().translate(_LETTERS)
    found = _PART.findall("".join(each for each in parted if not unicodedata.combining(each)))
    grammar = _grammar()
    split = [word for each in found for word in _split(each)]
    kept = [word for word in split if word not in grammar.fillers] or split[:1]
    return tuple(stem(each) for word in kept for each in grammar.abbreviations.get(word, word).split())


@dataclass(frozen=True, slots=True)
class _Grammar:
    """What is done to a word before it is compared."""

    fillers: frozenset[str]
    whole: frozenset[str]
    same: Mapping[str, str]
    abbreviations: Mapping[str, str]


@cache
def _document() -> Mapping[str, Any]:
    return tomllib.loads(files(__package__).joinpath("vocabulary.toml").read_text(encoding="utf-8"))


@cache
def _grammar() -> _Grammar:
    words = _document()["words"]
    same = {word: one for one, several in words["same"].items() for word in several.split()}
    return _Grammar(
        frozenset(words["fillers"].split()), frozenset(words["whole"].split()), same, words["abbreviations"]
    )


def _split(word: str) -> list[str]:
    """Split what a compound or a hurried hand writes as one word: kundennr, resdat, guestid."""
    match = None if word in _grammar().whole else _COMPOUND.fullmatch(word)
    return [word] if match is None else [each for each in match.groups() if each]


def stem(word: str) -> str:
    """Return a word without what plural, gender and umlauts add. Two words with one stem count as the same."""
    word = _UMLAUT.sub(r"\1", _grammar().same.get(word, word))
    if word.endswith("ies") and len(word) > _SHORT_WORD:
        word = word[:-3] + "y"
    elif word.endswith("eaux") or (word.endswith("s") and not word.endswith("ss") and len(word) > _SHORT_WORD):
        word = word[:-1]
    if word.endswith("en") and len(word) > _LONG_WORD:
        word = word[:-1]
    while len(word) > _LONG_WORD and word[-1] in "aeio":
        word = word[:-1]
    return word


def stems(text: str) -> frozenset[str]:
    """Return the stems of words that are separated by blanks."""
    return frozenset(map(stem, text.split()))


@cache
def _common() -> frozenset[str]:
    return stems(_document()["words"]["common"])


class _Index:
    """Finds terms without a look at each: a draft compares each name of a catalogue with thousands of them."""

    def __init__(self, several: Iterable[Words]) -> None:
        self._by_words: dict[Words, Words] = {}
        self._by_text: dict[str, list[Words]] = {}
        self._by_beginning: dict[str, list[Words]] = {}
        for term in several:
            joined = "".join(term)
            self._by_words[term] = term
            self._by_text.setdefault(joined, []).append(term)
            for end in range(_LONG_WORD, len(joined) + 1) if len(term) == 1 else ():
                self._by_beginning.setdefault(joined[:end], []).append(term)
        self._longest = max(map(len, self._by_words), default=0)

    def near(self, own: Words, comment: Words) -> set[Words]:
        """Return the terms that may be a part of a name, or of what is said of it."""
        found = set[Words]()
        if len(own) == 1:
            found.update(self._by_beginning.get(own[0], ()))
        for words in (own, comment):
            for start, word in enumerate(words):
                spans = (words[start : start + length] for length in range(1, self._longest + 1))
                found.update(self._by_words[span] for span in spans if span in self._by_words)
                for begin in range(len(word) - _LONG_WORD + 1):
                    found.update(self._by_text.get(word[begin:], ()))
        return found


@dataclass(frozen=True, eq=False)
class Terms:
    """Names of one thing."""

    names: tuple[Words, ...]
    weak: tuple[Words, ...]
    whole: frozenset[str]
    """The names without blanks: the stems of their words, and the stem of them as one word, such as lastname."""
    weak_whole: frozenset[str]

    def likeness(self, name: Words, context: Collection[str] = (), comment: Words = ()) -> float:
        """Return how well a name fits, from 0 to 1.

        Args:
            name: The words of the name.
            context: Words that may stand in front of it and say nothing, such as that of the table.
            comment: What is said of it.
        """
        own = _without(name, context)
        strong = _likeness_of_whole(self.whole, name, own) or max(
            (_likeness_of_part(term, own, comment) for term in self._names.near(own, comment)), default=0.0
        )
        weak = _likeness_of_whole(self.weak_whole, name, own) or max(
            (_likeness_of_part(term, own, ()) for term in self._weak.near(own, ())), default=0.0
        )
        return max(strong, _WEAK * weak)

    def says(self, name: Words, context: Collection[str] = ()) -> bool:
        """Return whether a name is one of these, so that its likeness is more than ``SURE``."""
        return _likeness_of_whole(self.whole, name, _without(name, context)) > 0

    @cached_property
    def _names(self) -> _Index:
        return _Index(self.names)

    @cached_property
    def _weak(self) -> _Index:
        return _Index(self.weak)


def terms(names: Iterable[str], weak: Iterable[str] = ()) -> Terms:
    """Return terms for names as a person writes them."""
    several = [tuple(each) for each in (names, weak)]
    of_names, of_weak = (tuple(dict.fromkeys(map(words_of, each))) for each in several)
    return Terms(of_names, of_weak, *map(_whole, several))


def _whole(names: Iterable[str]) -> frozenset[str]:
    return frozenset("".join(words_of(each)) for name in names for each in (name, name.replace(" ", "")))


def _without(name: Words, context: Collection[str]) -> Words:
    first = 0
    while first < len(name) - 1 and name[first] in context:
        first += 1
    return name[first:]


def _likeness_of_whole(whole: Collection[str], name: Words, own: Words) -> float:
    if "".join(name) in whole:
        return _EXACT
    return _WITHOUT_CONTEXT if "".join(own) in whole else 0.0


def _likeness_of_part(term: Words, own: Words, comment: Words) -> float:
    if len(term) == 1 and term[0] in _common():
        return 0.0
    return _likeness_within(term, own) or _likeness_of_comment(term, comment)


def _likeness_within(term: Words, own: Words) -> float:
    joined = "".join(term)
    if _contains(own, term):
        return max(
            (_AMONG_OTHERS_ALONE if len(term) == 1 else _AMONG_OTHERS) - _A_WORD_MORE * (len(own) - len(term) - 1), 0
        )
    if len(joined) >= _LONG_WORD and any(word.endswith(joined) for word in own):
        return _IN_COMPOUND - _A_WORD_MORE * (len(own) - 1)
    is_abbreviated = len(own) == len(term) == 1 and len(own[0]) >= _LONG_WORD and joined.startswith(own[0])
    return _ABBREVIATED if is_abbreviated else 0.0


def _likeness_of_comment(term: Words, comment: Words) -> float:
    joined = "".join(term)
    if len(joined) < _LONG_WORD:
        return 0.0
    if comment[: len(term)] == term:
        return _BEGINS_COMMENT
    return _IN_COMMENT if _contains(comment, term) or any(word.endswith(joined) for word in comment) else 0.0


def _contains(words: Words, term: Words) -> bool:
    return any(words[start : start + len(term)] == term for start in range(len(words) - len(term) + 1))


class Vocabulary:
    """The terms of ``vocabulary.toml``."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Read the terms of a document."""
        tables = dict(document["tables"])
        self.not_the_table = frozenset(word for name in tables.pop("not_the_table") for word in words_of(name))
        self.tables = {role: terms(names) for role, names in tables.items()}
        """By what a table holds."""
        self.columns = {what: terms(**each) for what, each in document["columns"].items()}
        """By what a column says, other than a key of the contract."""
        self.units = {unit: frozenset(map(stem, words)) for unit, words in document["units"].items()}
        self.marks = {what: stems(text) for what, text in document["marks"].items()}
        """Words of a column that says which row comes first."""
        self.values: Mapping[str, Sequence[str]] = document["values"]
        """Beginnings of values, by what they mean."""
        keys: Mapping[str, Mapping[str, Sequence[str]]] = document["keys"]
        self.keys = {key: terms(each.get("names", ()), each.get("weak", ())) for key, each in keys.items()}
        """By the key of the contract."""
        self._others = {
            (key, what): terms(names)
            for key, each in keys.items()
            for what, names in each.items()
            if what not in _KINDS
        }

    def other(self, key: str, what: str) -> Terms:
        """Return further terms of a key, such as those of a source that says it indirectly."""
        return self._others[key, what]

    def context_of(self, role: str) -> frozenset[str]:
        """Return the words that name what a table holds."""
        return frozenset(word for term in self.tables[role].names if len(term) == 1 for word in term)


@cache
def vocabulary() -> Vocabulary:
    """Return the vocabulary."""
    return Vocabulary(_document())
