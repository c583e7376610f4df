"""Words, terms and conditions."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.exceptions import InvalidRequestError
from utils import search


def _finds(query: str, text: str) -> bool:
    """Whether a document with `text` is found, as the database would."""
    fields = search.search_fields(text)
    term = search.best_term(query)
    return (term is None or term in fields["terms"]) and all(
        re.search(condition["lookup.text"]["$regex"], fields["text"])
        for condition in search.prefix_conditions(query)
    )


@given(st.text(min_size=1, max_size=60))
def test_a_text_finds_itself(text: str) -> None:
    assert _finds(text, f"before {text} after") or not search.words_of(text)


@given(st.text(st.characters(categories=["Lu", "Ll"]), min_size=1))
def test_any_prefix_of_a_word_finds_it(word: str) -> None:
    first = search.words_of(word)[0]
    for n in range(1, len(first) + 1):
        assert _finds(first[:n], word)


@given(st.text())
def test_conditions_are_patterns(query: str) -> None:
    for condition in search.prefix_conditions(query):
        re.compile(condition["lookup.text"]["$regex"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("Crème Brûlée", ["creme", "brulee"]),
        ("हिन्दी किताब", ["हिन्दी", "किताब"]),
        ("東京 NumPy", ["東", "京", "numpy"]),
        ("𝐇𝐞𝐥𝐥𝐨", ["hello"]),
        ("a_b-c", ["a", "b", "c"]),
        ("!?", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert search.words_of(text) == words


@given(st.text(st.characters(max_codepoint=127)))
def test_other_letters_change_no_word(text: str) -> None:
    assert search.words_of(f"{text} ß") == [*search.words_of(text), "ss"]


def test_a_query_needs_a_word() -> None:
    search.require_word(None)
    search.require_word("x")
    with pytest.raises(InvalidRequestError, match="q needs a word"):
        search.require_word("!?")
