"""Search: words of a text, and the conditions that find them by prefix.

Owns no collection. May call: nobody. A document keeps two fields under
`lookup`: `terms`, the beginnings of its words that an index finds by equality,
and `text`, all words normalised, that decides what the index only suspects.
Neither needs a text index, nor a pattern on an indexed array.
"""

import re
import unicodedata
from typing import Any, Final

from models.exceptions import InvalidRequestError

# Each word is indexed by its beginnings of these lengths; a query takes the
# longest that it fills. Few lengths keep the index small: about one entry a
# word, as short beginnings coincide.
_TERM_LENGTHS: Final = (2, 5)

# Letters with a stroke or a tail, which Unicode does not decompose.
_FOLDED: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe",
     "ı": "i", "ħ": "h", "ŧ": "t"}
)  # fmt: skip

# Accents, and the vowel points of Hebrew and Arabic, which readers leave out;
# the vowel signs of other scripts make another word.
_ACCENTS: Final = re.compile("[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]")

_ASCII_WORD: Final = re.compile("[a-z0-9]+")

# Scripts that are written without spaces: each character is a word.
_UNSPACED: Final = re.compile(
    "([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\u0e00-\u0eff\u1780-\u17ff\U00020000-\U0003ffff])"
)


def words_of(text: str) -> list[str]:
    """The words of `text` in order, without letter case and accents."""
    if text.isascii():
        # Nothing is to be decomposed: a sixth of the time.
        return _ASCII_WORD.findall(text.lower())
    # Some signs decompose into capitals: ℌ is an H.
    text = unicodedata.normalize("NFKD", text).casefold()
    text = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    text = _UNSPACED.sub(r" \1 ", text.translate(_FOLDED))
    return "".join(
        char if unicodedata.category(char)[0] in "LMN" else " " for char in text
    ).split()


def search_fields(*texts: str) -> dict[str, Any]:
    """What a document with these texts keeps, so that it can be found."""
    words = words_of("\n".join(texts))
    return {
        "terms": sorted({term for word in words for term in _terms_of(word)}),
        "text": "".join(f" {word}" for word in words),
    }


def best_term(query: str) -> str | None:
    """The term of a query that the fewest documents have, by its length.

    None when only single letters are asked for, which nearly all have.
    """
    terms = [term for word in words_of(query) for term in _terms_of(word)]
    return max(terms, key=len, default=None)


def prefix_conditions(query: str) -> list[dict[str, Any]]:
    """Conditions that a text has words that begin with each of the query's.

    What stands together in the query stands together in the text: the
    characters of a word in a script without spaces, or `3.11`.
    """
    chunks = [words_of(chunk) for chunk in query.split()]
    return [
        {"lookup.text": {"$regex": f" {' '.join(words)}"}}
        for words in chunks
        if words
    ]


def require_word(query: str | None) -> None:
    """Checks that a query, where there is one, asks for something.

    Raises:
        InvalidRequestError: it has no letter and no digit.
    """
    if query is not None and not words_of(query):
        raise InvalidRequestError.at(
            "query", "q", msg="q needs a word, or the beginning of one"
        )


def _terms_of(word: str) -> list[str]:
    if len(word) == 1:
        return [word] if _UNSPACED.match(word) else []
    return [word[:n] for n in _TERM_LENGTHS if n <= len(word)]
