import gzip

import pytest

from guerdon.parts.json_rows import json_rows


def test_lines_keep_their_numbers_and_bad_ones_are_values(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n{"a"\n\xff\n"x"\n' + b"[" * 100_000 + b"\n")
    found = dict(json_rows(path))
    assert list(found) == ["line 1", "line 3", "line 4", "line 5", "line 6"]
    assert found["line 1"] == {"a": 1}
    assert found["line 5"] == "x"
    said = {"line 3": "no JSON", "line 4": "not UTF-8", "line 6": "no JSON"}
    for place, words in said.items():
        assert isinstance(found[place], ValueError)
        assert words in str(found[place])


def test_a_list_gives_its_items(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\n[1,\n {"b": 2}]')
    assert list(json_rows(path)) == [("item 1", 1), ("item 2", {"b": 2})]


@pytest.mark.parametrize("damage", [lambda d: d[:-9], lambda d: d[:15] + b"\xff" * 9 + d[24:], lambda d: b"no gzip"])
def test_damaged_archives_are_named(tmp_path, damage):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(
        damage(gzip.compress(b'{"some": "text and more text, so that there is something to damage"}\n' * 5))
    )
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz cannot be read"):
        list(json_rows(path))
