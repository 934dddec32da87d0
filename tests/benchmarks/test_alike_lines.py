"""Where lines are alike, and what does not count as alike."""

from benchmarks.alike_lines import blank_heads, find_alike

SAME = "\n".join(f"    total += weigh({number}, total)  # {{}}" for number in range(6))
MODULE = '''"""About {}."""

import {}


def work_on_{}(
    total: int,
    what: str = "\x0c",
) -> int:
    """Adds up {}."""
'''


def write(folder, **modules):
    for name, body in modules.items():
        text = MODULE.replace("{}", name) + body.replace("{}", name) + "\n    return total\n"
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return sorted(folder.glob("*.py"))


def test_alike_lines_are_found_with_their_places(tmp_path):
    """Seven in both, from line 11 on; comments do not count."""
    files = write(tmp_path, one=SAME, other=SAME)
    assert find_alike(tmp_path, files, 6) == ["one:[10:17] other:[10:17]"]
    assert find_alike(tmp_path, files, 8) == []


def test_one_line_that_differs_ends_them(tmp_path):
    other = SAME.replace("weigh(3, total)", "weigh(9, total)")
    assert find_alike(tmp_path, write(tmp_path, one=SAME, other=other), 6) == []


def test_imports_and_heads_do_not_count():
    lines = blank_heads(MODULE.replace("{}", "one") + "    return 1\n").splitlines()
    assert list(filter(None, lines)) == [
        '"""About one."""',
        '    """Adds up one."""',
        "    return 1",
    ]
    assert lines[10:] == ["    return 1"]
