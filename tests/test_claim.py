"""A claim in a chapter is printed if it holds, and stops the chapter if it does not."""

import numpy as np
import pytest

from chatroom_lib import claim


def test_a_claim_that_holds_is_printed_with_a_tick(capsys):
    claim("Cy misses nothing", len([]) == 0)
    assert capsys.readouterr().out == "✓ Cy misses nothing\n"


def test_a_claim_that_does_not_hold_raises_with_its_sentence(capsys):
    with pytest.raises(AssertionError, match="^not so in this run: Cy misses nothing$"):
        claim("Cy misses nothing", 1 == 2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("something", [[], [1], "yes", 1, 0, None, np.bool_(True), object], ids=str)
def test_what_is_neither_true_nor_false_is_no_condition(something):
    with pytest.raises(TypeError, match="needs True or False"):
        claim("Cy misses nothing", something)


def test_a_condition_in_the_place_of_the_sentence_is_named():
    with pytest.raises(TypeError, match="the sentence comes first"):
        claim(1 == 1, "Cy misses nothing")
