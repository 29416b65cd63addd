"""Wildcard folders and names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from detailer_core.errors import PromptError
from detailer_core.wildcards import WildcardLibrary, expand, wildcard_files


def write(path: Path, text: str | bytes) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return path


def test_text_files_give_lines(tmp_path: Path) -> None:
    """Comments, blank lines, the byte-order mark and carriage returns go; letters of any script stay."""
    write(tmp_path / "Sub Folder" / "My Words.txt", b"\xef\xbb\xbf" + "один\r\n# no\r\n\r\n  \r\n two\r\n".encode())
    library = WildcardLibrary.from_folders([tmp_path])
    assert dict(library) == {"sub-folder/my-words": ("один", " two")}
    assert "SUB folder\\my WORDS" in library
    assert library["Sub-Folder/My-Words"][0] == "один"


def test_older_encodings_are_read(tmp_path: Path) -> None:
    """A file that is not UTF-8 is read as Latin-1."""
    write(tmp_path / "a.txt", b"caf\xe9")
    assert WildcardLibrary.from_folders([tmp_path])["a"] == ("café",)


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_yaml_files_give_nested_names(tmp_path: Path, suffix: str) -> None:
    """Keys are joined by `/`, values stay as written, single texts count as one line."""
    write(tmp_path / f"x{suffix}", "Animal:\n  Cat: [siamese, yes, 007]\n  big dog:\n    - pug\n    - \none: single\nempty:\n")
    library = WildcardLibrary.from_folders([tmp_path])
    assert dict(library) == {"animal/cat": ("siamese", "yes", "007"), "animal/big-dog": ("pug",), "one": ("single",)}
    assert library.problems == ()


def test_an_empty_yaml_file_holds_nothing(tmp_path: Path) -> None:
    """A file without content is no problem."""
    write(tmp_path / "x.yaml", "# nothing\n")
    library = WildcardLibrary.from_folders([tmp_path])
    assert (len(library), library.problems) == (0, ())


def test_yaml_is_not_imported_for_text_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of text files works without PyYAML."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    write(tmp_path / "a.txt", "x")
    assert WildcardLibrary.from_folders([tmp_path])["a"] == ("x",)


@pytest.mark.parametrize(("text", "message"), [
    ("a: [", "is not valid YAML ("),
    ("- a\n- b\n", "holds a list at its top, not names with lists; write `name:`"),
    ("just text", "holds a str at its top"),
    ("a: &x\n  b: *x\n", "is not valid YAML (found unconstructable recursive node"),
    ("\n".join(" " * i + "k:" for i in range(40)) + " x", "nests deeper than 32 levels; split it into smaller files"),
    ("\n".join([f"k{i}: &k{i} {{{', '.join(f'{c}: *k{i - 1}' for c in 'abcdefghij')}}}" if i else "k0: &k0 [x]" for i in range(20)]),
     "holds more than 500000 entries"),
], ids=["not yaml", "list", "text", "endless", "deep", "huge"])
def test_bad_yaml_is_a_problem_and_not_the_end(tmp_path: Path, text: str, message: str) -> None:
    """A yaml file that cannot be used is named in `problems`; the other files work."""
    write(tmp_path / "bad.yaml", text)
    write(tmp_path / "good.txt", "x")
    library = WildcardLibrary.from_folders([tmp_path])
    assert list(library) == ["good"]
    assert len(library.problems) == 1
    assert "bad.yaml" in library.problems[0]
    assert message in library.problems[0]


def test_a_missing_folder_is_a_problem(tmp_path: Path) -> None:
    """A folder that is not there is named, with what to do."""
    library = WildcardLibrary.from_folders([tmp_path / "none"])
    assert library.problems == (f"wildcard folder '{tmp_path / 'none'}' not found; create it, or take it out of the settings",)


def test_a_missing_wildcard_repeats_what_was_left_out(tmp_path: Path) -> None:
    """The error for an unknown name says which files could not be read."""
    library = WildcardLibrary.from_folders([tmp_path / "none"])
    assert "left out: wildcard folder" in str(library.missing("x", "here"))


def test_later_folders_win(tmp_path: Path) -> None:
    """A name in two folders is taken from the later one."""
    write(tmp_path / "1" / "a.txt", "one")
    write(tmp_path / "2" / "a.txt", "two")
    assert WildcardLibrary.from_folders([tmp_path / "1", str(tmp_path / "2")])["a"] == ("two",)


def test_links_out_of_the_folder_are_left_out(tmp_path: Path) -> None:
    """A link to a file elsewhere is not read, one within the folder is."""
    secret = write(tmp_path / "secret.txt", "secret")
    inside = write(tmp_path / "w" / "a.txt", "x")
    write(tmp_path / "elsewhere" / "b.txt", "secret")
    try:
        (tmp_path / "w" / "out.txt").symlink_to(secret)
        (tmp_path / "w" / "in.txt").symlink_to(inside)
        (tmp_path / "w" / "folder").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let us make links")
    library = WildcardLibrary.from_folders([tmp_path / "w"])
    assert set(library) == {"a", "in"}
    assert "is a link that leads out of" in library.problems[0]


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    """Files are taken in the order of their paths, so that globs draw alike everywhere."""
    for name in ("c", "a", "b/z", "b/y"):
        write(tmp_path / f"{name}.txt", name)
    assert list(WildcardLibrary.from_folders([tmp_path])) == ["a", "b/y", "b/z", "c"]


def test_huge_text_files_are_refused_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file over the limit is a PromptError, but only for who uses it."""
    monkeypatch.setattr(wildcard_files, "MAX_TEXT_FILE_BYTES", 10)
    write(tmp_path / "a.txt", "x" * 11)
    library = WildcardLibrary.from_folders([tmp_path])
    with pytest.raises(PromptError, match="has 11 bytes, more than the limit of 10; split it into smaller files"):
        expand("__a__", 0, library)


def test_huge_yaml_files_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A yaml file over the limit is left out."""
    monkeypatch.setattr(wildcard_files, "MAX_YAML_FILE_BYTES", 10)
    write(tmp_path / "a.yaml", "abcdef: [x, y]")
    assert "more than the limit of 10" in WildcardLibrary.from_folders([tmp_path]).problems[0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    """What is not text is a PromptError that says how to save it."""
    write(tmp_path / "a.txt", "x\0y")
    with pytest.raises(PromptError, match="is not UTF-8 text; save it as UTF-8"):
        WildcardLibrary.from_folders([tmp_path])["a"]


def test_a_file_that_goes_away_is_refused(tmp_path: Path) -> None:
    """A file that was there and no longer is, is a PromptError."""
    path = write(tmp_path / "a.txt", "x")
    library = WildcardLibrary.from_folders([tmp_path])
    os.remove(path)
    with pytest.raises(PromptError, match=r"cannot be read .*; check that it exists and may be read"):
        library["a"]


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """What was read stays the same for the life of the library."""
    path = write(tmp_path / "a.txt", "x")
    library = WildcardLibrary.from_folders([tmp_path])
    assert library["a"] == ("x",)
    path.write_text("y", encoding="utf-8")
    assert library["a"] == ("x",)


def test_unknown_names_are_key_errors() -> None:
    """The library is a mapping."""
    with pytest.raises(KeyError):
        WildcardLibrary()["a"]
    assert WildcardLibrary().get("a") is None
    assert 1 not in WildcardLibrary()


@pytest.mark.parametrize(("keyword", "names"), [
    ("b", ("b",)), ("B", ("b",)), ("a/*", ("a/cat", "a/cats", "a")), ("*/cat", ("a/cat", "a/cats")), ("a*t", ("a/cat", "a/cats")),
    ("*", ("a/cat", "a/cats", "a", "b", "v1.5")), ("cat", ()), ("v*.5", ("v1.5",)), ("v1x5*", ()), ("a\\cat", ("a/cat",)), ("*b*b*", ()),
])
def test_names_are_found(keyword: str, names: tuple[str, ...]) -> None:
    """Exact names and globs, without regard to case."""
    library = WildcardLibrary.from_mapping({name: ["x"] for name in ("a/cat", "a/cats", "a", "b", "v1.5")})
    assert library.find(keyword) == names
