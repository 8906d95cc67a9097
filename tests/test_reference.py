"""References to users' code: what is imported, when it is imported anew, what goes wrong."""

import sys
from functools import partial

import pytest

from edgestill.errors import ModelError, UsageError
from edgestill.reference import Reference, call, load, parse, run


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def test_the_two_forms():
    assert parse("models/net.py:student") == Reference("models/net.py", "student")
    assert parse("models/net.py:student").is_file
    assert not parse("package.module:student").is_file


@pytest.mark.parametrize("text", ["net.py", "net.py:", ":x", "a-b:c", "net.py:a.b", "a b.c:d"])
def test_what_is_no_reference(text):
    with pytest.raises(UsageError, match=r"is not a reference to a callable. Write file.py:"):
        parse(text)


def test_files_of_one_name_do_not_clash_nor_do_their_siblings(tmp_path):
    for name in ("a", "b"):
        write(
            tmp_path / name,
            net="from parts import WHO\ndef who():\n    return WHO\n",
            parts=f"WHO = {name!r}\n",
        )
    for name in ("a", "b", "a"):
        assert call(f"{name}/net.py:who", tmp_path, {}, UsageError) == name
    assert not any(str(tmp_path) in path for path in sys.path)


def test_a_sibling_may_be_imported_while_the_callable_runs(tmp_path):
    write(
        tmp_path,
        net="def who():\n    import late_sibling\n    return late_sibling.WHO\n",
        late_sibling="WHO = 'late'\n",
    )
    assert call("net.py:who", tmp_path, {}, UsageError) == "late"


@pytest.mark.parametrize("changed", ["net", "piece"])
def test_a_changed_file_is_imported_anew(tmp_path, changed):
    files = {
        "net": "from piece import B\nA = 1\ndef both():\n    return A, B\n",
        "piece": "B = 1\n",
    }
    write(tmp_path, **files)
    assert call("net.py:both", tmp_path, {}, UsageError) == (1, 1)
    # The same size within the same second: the time stamp cannot tell.
    write(tmp_path, **{changed: files[changed].replace(" = 1", " = 2")})
    assert call("net.py:both", tmp_path, {}, UsageError) == ((2, 1) if changed == "net" else (1, 2))
    assert not list(tmp_path.rglob("__pycache__"))


def test_an_unchanged_file_is_imported_once(tmp_path):
    write(tmp_path, net="class Net:\n    pass\n")
    assert load("net.py:Net", tmp_path, UsageError) is load("net.py:Net", tmp_path, UsageError)


def test_a_module_below_the_base(tmp_path):
    write(tmp_path / "zoo_of_models", nets="def who(name):\n    return name\n")
    assert call("zoo_of_models.nets:who", tmp_path, {"name": "x"}, UsageError) == "x"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nut.py:who", r"nut.py:who: there is no file .*nut.py. Did you mean 'net.py'\?"),
        ("net.py:hwo", r"there is no 'hwo' in net.py. Did you mean 'who'\?"),
        ("net.py:NUMBER", r"it is a int, not a callable"),
        ("no_such.module:who", r"there is no module no_such. Install it, or run from the folder"),
        ("broken.py:who", r"\(broken.py:2\): broken.py cannot be imported: SyntaxError"),
        ("needs.py:who", r"\(needs.py:1\): needs.py cannot be imported: ModuleNotFoundError: No "),
        ("leaves.py:who", r"\(leaves.py:1\): leaves.py cannot be imported: SystemExit: 3"),
        ("net.py:fails", r"\(net.py:6\): fails\(\) raised ValueError: bad width. --debug shows"),
        ("net.py:deep", r"\(net.py:10\): deep\(\) raised JSONDecodeError"),
    ],
)
def test_what_goes_wrong(tmp_path, reference, message):
    write(
        tmp_path,
        net="NUMBER = 5\n\ndef who(name='x'):\n    return name\n\ndef fails(): raise ValueError("
        "'bad width')\n\ndef deep():\n    import json\n    json.loads('{')\n",
        broken="x = 1\ny = = 2\n",
        needs="import no_such_library\n",
        leaves="raise SystemExit(3)\n",
    )
    with pytest.raises(ModelError, match=message):
        call(reference, tmp_path, {}, ModelError)


def test_a_call_that_never_reaches_the_code_names_no_line_of_it(tmp_path):
    write(tmp_path, net="def answers():\n    return 1\n")
    function = load("net.py:answers", tmp_path, UsageError)
    with pytest.raises(UsageError) as raised:
        run("net.py:answers", tmp_path, partial(function, {}), UsageError)
    assert str(raised.value) == (
        "net.py:answers: answers() raised TypeError: answers() takes 0 positional arguments but 1 "
        "was given. --debug shows the traceback"
    )


def test_arguments_that_it_does_not_take(tmp_path):
    write(tmp_path, net="def student(width, depth=1):\n    return width\n")
    with pytest.raises(ModelError, match=r"argument 'widht'. Did you mean 'width'\?"):
        call("net.py:student", tmp_path, {"widht": 3, "width": 3}, ModelError)
    with pytest.raises(ModelError, match=r"missing a required .*'width'. It takes: \(width, dep"):
        call("net.py:student", tmp_path, {}, ModelError)
