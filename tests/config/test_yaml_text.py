"""YAML that anybody may have written is read or refused, in bounded time and memory."""

import time
import tracemalloc

import pytest
import yaml

from jamba_ray.config.yaml_text import YamlTextError, parse_yaml, read_yaml


def bomb(levels=9, width=10):
    lines = ["a0: &a0 [" + ",".join("x" * width) + "]"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * width) + "]")
    return "\n".join(lines) + "\n"


def merge_bomb():
    lines = ["a0: &a0 {" + ",".join(f"k{i}: x" for i in range(10)) + "}"]
    lines += [f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 9)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(), "unfolds to more than 200,000 values"),
        (merge_bomb(), "unfolds to more than 200,000 values"),
        ("a: &a " + "x" * 100_000 + "\nb: [" + ",".join(["*a"] * 10_000) + "]", "unfolds to more"),
        ("a: &a [*a]", "repeats what it stands in"),
        ("a: *b", "undefined alias"),
        ("[" * 5000, "nesting"),
        ("- " * 5000, "nested more than 64 deep"),
        ("a: [", "while parsing"),
        ("a: 2020-13-45", "month must be in 1..12"),
        ("a: " + "1" * 5000, "Exceeds the limit"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("? [a]\n: b", "unhashable"),
        ("a: \0", "control characters"),
    ],
)
def test_what_unfolds_without_limit_or_is_none_is_refused_in_one_line(text, words):
    tracemalloc.start()
    begun = time.process_time()
    with pytest.raises(YamlTextError) as caught:
        parse_yaml(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert peak < 50e6
    assert time.process_time() - begun < 10


def test_what_people_write_is_read_as_ever():
    text = "a: &a {x: 1, y: [1.5, true, null]}\nb: *a\nc: {<<: *a, x: 2}\nd: 1e-3\ne: 2024-02-29\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    long = yaml.safe_dump({"drop": [f"column_{i}" for i in range(50_000)]})
    assert len(parse_yaml(long)["drop"]) == 50_000


def test_files(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(YamlTextError, match="utf-8"):
        read_yaml(path)
    with path.open("wb") as file:
        file.truncate(1 << 40)  # of holes
    with pytest.raises(YamlTextError, match="longer than 4 MiB"):
        read_yaml(path)
    with pytest.raises(OSError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")
