"""YAML files are read with their lines, and a hostile one gets a sentence, never a traceback, a hang or a call."""

from pathlib import Path

import pytest

from empslurm.errors import ManifestError
from empslurm.validation import yaml_tree
from empslurm.validation.yaml_tree import Items, Scalar, Table


def load(tmp_path: Path, data: bytes) -> yaml_tree.Node:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    return yaml_tree.load(path)


def scalar(tmp_path: Path, text: str) -> object:
    node = load(tmp_path, f"a: {text}".encode())
    assert isinstance(node, Table)
    value = node.entries[0][2]
    assert isinstance(value, Scalar)
    return value.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("'1'", "1"),
        ("1e-4", "1e-4"),
        ("no", "no"),
        ("007", "007"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("01:30:00", "01:30:00"),
        ("2020-01-01", "2020-01-01"),
    ],
)
def test_plain_scalars_follow_the_decimal_core_schema(tmp_path, text, value):
    read = scalar(tmp_path, text)
    assert read == value
    assert type(read) is type(value)


def test_lines_and_duplicate_keys_are_kept(tmp_path):
    node = load(tmp_path, b"a: 1\n\nb:\n  - x\n  - y\na: 2\n")
    assert isinstance(node, Table)
    assert [(key, line) for key, line, _ in node.entries] == [("a", 1), ("b", 3), ("a", 6)]
    items = node.entries[1][2]
    assert isinstance(items, Items)
    assert [item.line for item in items.items] == [4, 5]


def test_byte_order_mark_and_crlf_change_nothing(tmp_path):
    assert load(tmp_path, b"\xef\xbb\xbfa: 1\r\nb: [2]\r\n") == load(tmp_path, b"a: 1\nb: [2]\n")


def test_an_alias_is_its_value(tmp_path):
    node = load(tmp_path, b"a: &x {k: 1}\nb: *x\n")
    assert isinstance(node, Table)
    assert node.entries[0][2] == node.entries[1][2]


LAUGHS = b"a: &a [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(8)
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"a: \x00", "U+0000"),
        ("a: 1".encode("utf-16"), "UTF-16"),
        (b"a: \xff", "byte 3"),
        (b"a: [1, 2", "expected ',' or ']'"),
        (b'a: "x', "end of stream"),
        (b"a: 1\n\tb: 2", "x.yaml:2"),
        (b"[" * 500_000, "levels deep"),
        (b"- " * 250_000, "levels deep"),
        (b"{a: " * 100_000, "levels deep"),
        (b"a: [" + b"1," * 100_000 + b"]", "at most 20,000 values"),
        (LAUGHS, "at most 20,000 values"),
        (b"a: &a [*a]", "*a is not one"),
        (b"a: *nowhere", "*nowhere is not one"),
        (b"a: &x 1\nb: [" + b"*x," * 200 + b"]", "at most 100 aliases"),
        (b"a: !!python/object/apply:os.system ['x']", "no tags"),
        (b"a: !!int '3'", "no tags"),
        (b"%TAG ! tag:x,2000:\n---\na: !y 3", "no tags"),
        (b"%YAML 2.0\n---\na: 1", "version"),
        (b"%YAML " + b"9" * 5000 + b".1\n---\na: 1", "limit"),
        (b'a: "\\UFFFFFFFF"', "be YAML"),
        (b'a: "\\uD800"', "printable"),
        (b'a: "\\0"', "printable"),
        (b"? [a]\n: 1", "plain keys"),
        (b"a: 1\n---\nb: 1", "one document"),
        (b"a" * (2**20 + 1), "1,048,576"),
    ],
)
def test_a_hostile_file_gets_one_sentence(tmp_path, data, words):
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, data)
    assert words in str(caught.value)
    assert "must" in str(caught.value)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_what_is_not_a_file_gets_a_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "absent.yaml", Path("a\0b"), tmp_path / ("x" * 300)):
        with pytest.raises(ManifestError):
            yaml_tree.load(path)
