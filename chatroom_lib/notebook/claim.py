"""A sentence that a cell proves."""


def claim(sentence: str, holds: bool) -> None:
    """Print a tick and the sentence if it holds in this run.

        claim("Cy misses nothing", not trace.missed()["Cy"])      # prints: ✓ Cy misses nothing

    Raises AssertionError, with the sentence, if it does not hold; TypeError if `holds` is not True or False, since a
    list or a coroutine, say, would always count as true.
    """
    if not isinstance(sentence, str):
        raise TypeError(f"claim(sentence, holds): the sentence comes first, and this is not text: {sentence!r}")
    if holds is not True and holds is not False:
        raise TypeError(
            f"claim({sentence!r}, ...) needs True or False, not {holds!r}: write a comparison, or bool(...)"
        )
    if not holds:
        raise AssertionError(f"not so in this run: {sentence}")
    print(f"✓ {sentence}")
