"""Tables on the command line: what is wrong is said before training, by the option's name."""

import numpy as np
import pytest

import layers
from layers.command_line import cli, on_tables

ROWS = "a,b,c,y\n" + "".join(
    f"{i % 7},{i % 5},{'uv'[i % 2]},{'no' if i % 3 else 'yes'}\n" for i in range(40)
)
TRAIN = ("train", "a.csv", "--quiet", "--epochs", 1, "--hidden", 4)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(ROWS)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,u\n", "--test t.csv has no column 'y', expected the target to compare with"),
        ("a,b,c,Y\n1,2,u,no\n", "the target to compare with; did you mean 'Y'?"),
        ("a,b,c,y\n1,2,u,\n", "--test t.csv: column 'y' has no values"),
        ("a,b,c,y\n1,2,u,maybe\n", "holds 'maybe', expected classes of training: no, yes"),
        ("a,c,y\n1,u,no\n", "the table has no column 'b'"),
        ("a,b,c,y\n1,x,u,no\n", "column 'b', row 1 holds 'x', expected a number"),
    ],
)
def test_a_table_that_cannot_be_tested_on_is_refused_before_training(
    run, tmp_path, monkeypatch, text, message
):
    monkeypatch.setattr(on_tables, "train_and_save", lambda *_: pytest.fail("it was trained"))
    (tmp_path / "t.csv").write_text(text)
    code, _, err = run(*TRAIN, "--test", "t.csv")
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.filterwarnings("default")
def test_what_is_unexpected_of_a_column_is_said_once(run, tmp_path):
    (tmp_path / "a.csv").write_text(ROWS.replace("\n1,1,v,", "\n1,1,V,"))
    code, _, err = run(*TRAIN)
    assert code == 0
    assert err.count("categories differ only by case or spaces: 'V', 'v'") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("train", "a.csv", "--learning_rate", 0.1),
            "--learning_rate 0.1; did you mean '--learning-rate'?",
        ),
        (("export", "a.npz", "a.onnx", "--without_columns"), "did you mean '--without-columns'?"),
        (("--quite",), "unrecognized arguments: --quite"),
    ],
)
def test_an_unknown_option_is_said_with_the_one_that_is_like_it(run, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compare", "bench"])
def test_numbers_of_other_commands(run, command):
    option = ("--seed", -1) if command == "compare" else ("--rounds", 0)
    code, _, err = run(command, *option)
    assert code == 2
    assert f"{command}: {option[0]} is {option[1]}, expected an integer of at least" in err


def test_bars_separate_fields_too(run, tmp_path):
    (tmp_path / "b.csv").write_text(ROWS.replace(",", "|"))
    bars, commas = layers.read_table("b.csv"), layers.read_table("a.csv")
    assert bars.notes[0] == "fields are separated by bars"
    assert bars.names == commas.names
    for one, other in zip(bars.columns, commas.columns, strict=True):
        np.testing.assert_array_equal(one, other)
    (tmp_path / "c.csv").write_text("a|b,y\n1|2,3\n")
    assert layers.read_table("c.csv").names == ("a|b", "y")


def test_the_advice_where_columns_have_no_graph_can_be_followed(run):
    pytest.importorskip("onnx")
    assert run(*TRAIN, "--save", "t.npz")[0] == 0
    code, _, err = run("export", "t.npz", "t.onnx")
    assert code == 2
    assert "column 'c' is a category: u, v; a graph takes numbers" in err
    assert "(export --without-columns)" in err
    assert run("export", "t.npz", "t.onnx", "--without-columns")[0] == 0

    predictor = layers.TabularPredictor.load("t.npz")
    predictor.model.columns = None
    predictor.model.save("u.onnx")
    predictor.save("u.npz")  # its own columns
    assert predictor.model.columns is None
    again = layers.TabularPredictor.load("u.npz")
    np.testing.assert_array_equal(again.predict("a.csv"), predictor.predict("a.csv"))
    x, _ = predictor.columns.transform("a.csv")
    np.testing.assert_array_equal(
        layers.load("u.onnx").predict_proba(x), layers.load("t.onnx").predict_proba(x)
    )
    with pytest.raises(ValueError, match="TabularPredictor: it has learnt nothing yet"):
        layers.TabularPredictor("y").save("v.npz")


def test_a_table_without_rows_is_said_to_be(run):
    frame = {name: np.empty(0) for name in "ab"}
    for source in (frame, {}):
        with pytest.raises(ValueError, match="the table has no rows, expected at least one"):
            layers.read_table(source)
