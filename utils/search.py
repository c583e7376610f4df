"""Search: words of a text, and the conditions that find them by prefix.

Owns no collection. May call: nobody. A document keeps two fields under
`lookup`: `terms`, the beginnings of its words that an index finds by equality,
and `text`, all words normalised, that decides what the index only suspects.
Neither needs a text index, nor a pattern on an indexed array.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

# Each word is indexed by its beginnings of these lengths; a query takes the
# longest that it fills. Few lengths keep the index small: about one entry a
# word, as short beginnings coincide.
_TERM_LENGTHS: Final = (2, 5)

# Letters with a stroke or a tail, which Unicode does not decompose.
_FOLDED: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe",
     "ı": "i", "ħ": "h", "ŧ": "t"}
)  # fmt: skip

_WORD: Final = re.compile(r"[^\W_]+")

# Scripts that are written without spaces: each character is a word.
_UNSPACED: Final = re.compile(
    "([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\u0e00-\u0eff\u1780-\u17ff\U00020000-\U0003ffff])"
)


def words_of(*texts: str) -> list[str]:
    """The distinct words of `texts`, without letter case and accents."""
    text = unicodedata.normalize("NFKD", " ".join(texts).casefold())
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = _UNSPACED.sub(r" \1 ", text.translate(_FOLDED))
    return list(dict.fromkeys(_WORD.findall(text)))


def search_fields(*texts: str) -> dict[str, Any]:
    """What a document with these texts keeps, so that it can be found."""
    words = words_of(*texts)
    return {
        "terms": sorted({term for word in words for term in _terms_of(word)}),
        "text": "".join(f" {word}" for word in words),
    }


def best_term(words: Iterable[str]) -> str | None:
    """The term of a query that the fewest documents have, by its length.

    None when only single letters are asked for, which nearly all have.
    """
    terms = [term for word in words for term in _terms_of(word)]
    return max(terms, key=len, default=None)


def prefix_conditions(words: Iterable[str]) -> list[dict[str, Any]]:
    """Conditions that some word begins with each of `words`."""
    return [{"lookup.text": {"$regex": f" {word}"}} for word in words]


def _terms_of(word: str) -> list[str]:
    if len(word) == 1:
        return [word] if _UNSPACED.match(word) else []
    return [word[:n] for n in _TERM_LENGTHS if n <= len(word)]
