"""Which names a class may have: each is a folder in every set that is written."""

import unicodedata
from collections.abc import Iterable, Mapping

from runtime.errors import InputError

LONGEST = 255  # bytes; what the common file systems allow
# Control characters, line and paragraph separators (they end a line of metadata.jsonl), lone surrogates.
FORBIDDEN = ("Cc", "Zl", "Zp", "Cs")


def check_class_names(names: Iterable[str], where: str | Mapping[str, str]) -> None:
    """Refuse what cannot be a folder of its own on every common file system.

    Quotes, markup and any script are legal: who renders a name escapes it.

    Args:
        names: Class names.
        where: The file, folder or key that they come from, for the message; or that of each name.

    Raises:
        InputError: A name that is empty, hidden (``.x``), has a slash or backslash, a dollar
            sign, a control character or line separator, or is longer than 255 bytes; or two names that
            differ only by case or Unicode form (they are one folder on macOS and Windows);
            the names are given.
    """
    known: dict[str, str] = {}
    for name in names:
        place = where if isinstance(where, str) else where[name]
        reason = _fault(name)
        if reason:
            raise InputError(f"{place}: class name {name!a} {reason}; rename the class.")
        twin = known.setdefault(_folded(name), name)
        if twin != name:
            raise InputError(
                f"{place}: classes {_shown(twin, name)} and {_shown(name, twin)} differ only by case or "
                "Unicode form; rename one, or merge them."
            )


def _fault(name: str) -> str:
    """Why it cannot be a folder; empty where it can."""
    if not name or not name.strip():
        return "is empty"
    if name.startswith("."):
        return "begins with a dot, which hides a folder or leads out of it"
    if "/" in name or "\\" in name:
        return "has a slash, which would lead into another folder"
    if "$" in name:  # Hugging Face's datasets expands it: $HOME would open another folder
        return "has a dollar sign, which other tools take for a variable"
    if any(unicodedata.category(character) in FORBIDDEN for character in name):
        return "has a control character, a line separator or a byte that is not UTF-8"
    if len(name.encode()) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return ""


def _folded(name: str) -> str:
    """Equal for names that a file system may take for one (Unicode 3.13, canonical caseless match)."""
    decomposed = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", decomposed)


def _shown(name: str, other: str) -> str:
    """Quoted; with its code points where the two look alike."""
    alike = unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other)
    return ascii(name) if alike else repr(name)
