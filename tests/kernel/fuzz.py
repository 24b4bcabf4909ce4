"""``make fuzz``: atheris looks for bytes that make a parser raise anything but ``ParseError``, guided by coverage.

The first byte chooses the parser. It runs for MINUTES (10 unless set); what it finds libFuzzer leaves where it runs.
"""

from __future__ import annotations

import os
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["netinspect.kernel"]):
    from tests.kernel.test_fuzz import PARSERS, SPOKEN, tried

NAMES = sorted(PARSERS)


def once(data: bytes) -> None:
    """Give one input to one parser."""
    if data:
        tried(NAMES[data[0] % len(NAMES)], data[1:].decode(errors="backslashreplace"))


def main() -> None:
    """Start libFuzzer with the tools' own words as its dictionary."""
    seconds = 60 * int(os.environ.get("MINUTES", "10"))
    words = sorted({w for w in SPOKEN.split() if w.isascii() and w.isprintable() and "\\" not in w and '"' not in w})
    with tempfile.NamedTemporaryFile("w", suffix=".dict", delete=False) as dictionary:
        dictionary.writelines(f'w{number}="{word}"\n' for number, word in enumerate(words))
    options = [f"-max_total_time={seconds}", f"-dict={dictionary.name}", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
