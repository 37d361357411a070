"""Which files of a tree tell most of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.tools.ranking import rank


def ranked(*files: str) -> list[str]:
    return sorted(files, key=lambda path: rank(path, 1000))


def test_a_tree_is_told_from_its_readme_down_to_its_lock_file() -> None:
    telling = [
        "README.md",
        "pyproject.toml",
        "setup.py",
        "app.py",
        "pkg/__init__.py",
        "pkg/other.py",
        "pkg/sub/core.py",
        "config.yaml",
        "docs/guide.md",
        "examples/demo.py",
        "tests/test_app.py",
        ".github/workflows/ci.yml",
        "LICENSE",
        "poetry.lock",
        "node_modules/x/index.js",
        "pkg/api_pb2.py",
    ]
    kinds = [rank(path, 1000)[0] for path in telling]
    assert kinds == [0, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5, 5]
    assert ranked(*reversed(telling))[:9] == telling[:9]


def test_of_two_sources_side_by_side_the_larger_tells_more() -> None:
    assert rank("pkg/large.py", 9000) < rank("pkg/small.py", 900)
    assert rank("pkg/__init__.py", 90) < rank("pkg/main.py", 900) < rank("pkg/large.py", 9000)
    assert rank("pkg/a.py", 900) < rank("pkg/b.py", 900)


def test_a_file_of_a_line_or_so_tells_little() -> None:
    assert rank("README.md", 10) > rank("tests/data.yaml", 500)


@given(
    st.lists(st.text(st.characters(exclude_characters="\0/"), min_size=1), min_size=1), st.integers(min_value=0)
)
def test_any_path_has_a_rank(parts: list[str], size: int) -> None:
    assert rank("/".join(parts), size) == rank("/".join(parts), size)
