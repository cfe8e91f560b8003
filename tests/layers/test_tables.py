"""A person's own tables: read in every form, decided on aloud, learnt, and applied by name."""

import contextlib
import gzip
import io
import json
import os
import re
import shlex
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

import layers
from layers import data
from layers import datasets as packaged
from layers.command_line import cli
from layers.files.archive import checksum
from layers.tables.table import Table, table_of

ROOT = Path(__file__).resolve().parents[2]

datasets = pytest.importorskip("sklearn.datasets", reason="the tables are made of its data")


def write(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def iris():
    """Names, and rows of text, in an order that mixes the species."""
    found = datasets.load_iris()
    order = np.random.PCG64(0).random_raw(150).argsort()
    names = ["sepal length", "sepal width", "petal length", "petal width", "species"]
    rows = [[*map(str, found.data[i]), str(found.target_names[found.target[i]])] for i in order]
    return names, rows


def lines(names, rows, sign=",", end="\n"):
    return "".join(sign.join(row) + end for row in [names, *rows])


def iris_in(form, tmp_path):
    """Iris, as a file of one of the forms that people have it in."""
    names, rows = iris()
    quoted = [f'"{name.replace(" ", chr(10))}"' for name in names[:4]]
    decimal = [[cell.replace(".", ",") for cell in row] for row in rows]
    numbers = {name: str(i) for i, name in enumerate(sorted({row[4] for row in rows}))}
    content = {
        "commas": lines(names, rows),
        "semicolons": lines(names, decimal, ";"),
        "tabs": lines(names, rows, "\t", "\r\n"),
        "mark": "\ufeff" + lines(names, rows),
        "cp1252": lines(["L\u00e4nge", *names[1:]], rows).encode("cp1252"),
        "utf16": lines(names, decimal, "\t").encode("utf-16"),
        "line breaks": lines([*quoted, names[4]], rows),
        "index": lines(["", *names], [[str(i), *row] for i, row in enumerate(rows)]),
        "first": lines([names[4], *names[:4]], [[row[4], *row[:4]] for row in rows]),
        "integers": lines(names, [[*row[:4], numbers[row[4]]] for row in rows]),
        "gz": gzip.compress(lines(names, rows).encode()),
    }
    if form in content:
        return write(tmp_path / f"{form}.csv", content[form])
    frame = {
        name: [row[i] if i == 4 else float(row[i]) for row in rows] for i, name in enumerate(names)
    }
    if form == "xlsx":
        book = pytest.importorskip("openpyxl", reason="Excel needs it").Workbook()
        for row in [names, *zip(*frame.values(), strict=True)]:
            book.active.append(list(row))
        book.save(tmp_path / "iris.xlsx")
        return tmp_path / "iris.xlsx"
    arrow = pytest.importorskip("pyarrow", reason="Parquet needs it").table(frame)
    if form == "arrow":
        return arrow
    pytest.importorskip("pyarrow.parquet").write_table(arrow, tmp_path / "iris.parquet")
    return tmp_path / "iris.parquet"


FORMS = (
    *("commas", "semicolons", "tabs", "mark", "cp1252", "utf16", "line breaks", "index", "first"),
    *("integers", "gz", "xlsx", "parquet", "arrow"),
)


@pytest.mark.parametrize("form", FORMS)
def test_iris_is_learnt_from_every_form(form, tmp_path):
    table = layers.read_table(iris_in(form, tmp_path))
    predictor = layers.TabularPredictor().fit(table.rows(np.arange(150) % 3 > 0))
    expected = (0, 1, 2) if form == "integers" else ("setosa", "versicolor", "virginica")
    assert predictor.classes == expected
    assert predictor.columns.n_in == 4
    assert predictor.evaluate(table.rows(np.arange(150) % 3 == 0))["accuracy"] >= 0.93


def test_one_table_gives_the_same_bits_in_each_form(tmp_path):
    found = set()
    for form in ("commas", "semicolons", "tabs", "mark", "utf16", "index", "gz"):
        x, y = (
            layers.Columns()
            .fit(table := layers.read_table(iris_in(form, tmp_path)))
            .transform(table)
        )
        found.add((x.tobytes(), y.tobytes()))
    assert len(found) == 1


def test_what_was_understood_is_said(tmp_path):
    notes = {form: layers.read_table(iris_in(form, tmp_path)).notes for form in FORMS[:6]}
    assert notes["commas"] == (
        "first line taken as names: sepal length, sepal width, petal length, petal width, species",
    )
    assert notes["semicolons"][0] == "fields are separated by semicolons"
    assert notes["semicolons"][-1].startswith("decimal commas in sepal length, sepal width")
    assert notes["tabs"][0] == "fields are separated by tabs"
    assert notes["mark"][0] == "read as utf-8, by its mark"
    assert notes["cp1252"][0] == "read as cp1252, since it is not UTF-8"
    assert notes["utf16"][0] == "read as utf-16, by its mark"


# --- reading --------------------------------------------------------------------------------------


def columns_of(table):
    return {name: column.tolist() for name, column in zip(table.names, table.columns, strict=True)}


def test_cells_are_numbers_where_a_whole_column_is(tmp_path):
    text = 'n,t,m,q\n1,7,,"a, ""b""\n2"\n -2.5e1 ,x,NA,\n\n+3,007,?,c\n'
    table = layers.read_table(write(tmp_path / "a.csv", text))
    n, t, m, q = table.columns
    assert n.tolist() == [1, -25, 3]
    assert t.tolist() == ["7", "x", "007"]
    assert np.isnan(m).all()
    assert q.tolist() == ['a, "b"\n2', None, "c"]
    assert layers.read_table(tmp_path / "a.csv", text=["n"])["n"].tolist() == ["1", "-2.5e1", "+3"]


@pytest.mark.parametrize("cell", ["1_000", "\u0661", "0x10", "1.O", "1,5"])
def test_what_only_python_takes_for_a_number_is_text(tmp_path, cell):
    table = layers.read_table(write(tmp_path / "a.csv", f'a,b\n1,2\n"{cell}",3\n'))
    assert table["a"].tolist() == ["1", cell]


def test_a_column_that_turns_out_text_late_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(data.records, "ROWS", 8)
    monkeypatch.setattr(data.records, "PIECE", 16)
    rows = "".join(f"{i:03},{i}\n" for i in range(40))
    table = layers.read_table(write(tmp_path / "a.csv", f"a,b\n{rows}x,1\n"))
    assert table["a"].tolist() == [f"{i:03}" for i in range(40)] + ["x"]
    assert table["b"].tolist() == [*range(40), 1]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n" + "1,2.5\n-3,4e1\n nan ,\t7\n\n" * 9,
        "a,b\n" + "1,2.5\n" * 9 + "?,\n" + "1e999,inf\n" * 3 + "3,4\n" * 9,
        "n,t\n" + "1,x\n2,007\n" * 9 + '3,"y, ""z""\n\n"\n' + '"4","u"\n' * 9,
        "t;a\n" + "u;1.5\n" * 9 + "v;NA\n" + ";2.5\n" * 9,
        "a;b\n" + "1;7\n" * 9 + "2,5;7\n" * 9,
        "a;b\n" + "1.5;7\n" * 9 + "2,5;7\n" * 9,
        "a;b\n" + "1;7\n" * 9 + "2;x\n" * 9 + "2;1.5\n" * 9 + "2;1,5\n" * 9,
        "a,b\n" + "1,2\n" * 9 + "1,2,3\n" * 9,
        "a,b\n" + "1,2\n" * 9 + '1,"2\n',
        "a\n" + "1\n" * 9 + "\n" + "2\n" * 9,
    ],
)
def test_blocks_of_numbers_are_read_as_fields_one_by_one_are(tmp_path, text, monkeypatch):
    monkeypatch.setattr(data.records, "ROWS", 8)
    monkeypatch.setattr(data.records, "PIECE", 16)
    path, found, blocks = write(tmp_path / "a.csv", text), [], []
    plain = data.records.Records._plain

    def counted(*given):
        blocks.append(plain(*given))
        return blocks[-1]

    for parse in (counted, lambda *given: None):
        monkeypatch.setattr(data.records.Records, "_plain", parse)
        try:
            table = layers.read_table(path)
            found.append((repr(columns_of(table)), table.notes))
        except ValueError as error:
            found.append(str(error))
    assert found[0] == found[1]
    assert text.startswith("a\n") or any(block is not None for block in blocks)


def test_a_table_from_a_pipe_is_read_as_often_as_needed(tmp_path):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    content = b"a;b\n" + b"1;2\n" * 3 + "\u00e9;3\n".encode("cp1252")
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(content),))
    writer.start()
    table = layers.read_table(path)
    writer.join()
    assert table["a"].tolist() == ["1", "1", "1", "\u00e9"]


def test_a_blank_line_in_a_single_column_is_a_value_that_is_missing(tmp_path):
    table = layers.read_table(write(tmp_path / "a.csv", "a\n1\n\n3\n\n"))
    np.testing.assert_array_equal(table["a"], [1, np.nan, 3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 columns, expected 2 as in line 1"),
        ("a,b,a\n1,2,3\n", "line 1: more than one column is called 'a'"),
        ("a,b\n", "has a header and no rows"),
        ('a,b\n1,"2\n', "line 2: a quote that is not closed"),
        ("a;b\n1,5;2\n1.5;3\n", "'a' hold decimal commas and points"),
        ("a,b\n1,\0\n", "line 2 holds a NUL"),
        (b"a,b\n1,\x81\n", "is not text in UTF-8, nor in cp1252"),
        ("a,b\n1,2\n".encode("utf-16-le"), "line 1 holds a NUL"),
        (b"\xff\xfea,b\n1,2", "is not text in utf-16"),
        ("a,b\n1,2\n" + "\n" * (2 << 20), "more blank lines than others"),
        ("a,b\n1," + "x" * (1 << 25) + "\n", "line 2 has more than 16777216 characters"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "numbers and 'setosa' in column 3: an example with"),
        ("5,1;3,5;setosa\n4,9;3;setosa\n", "numbers and 'setosa' in column 3: an example with"),
    ],
)
def test_what_is_no_table_is_said_with_its_place(tmp_path, content, message):
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        layers.read_table(path)
    assert str(caught.value).startswith(f"read_table: {path}")


def test_arrays_and_images_are_tables_too(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(6).reshape(3, 2), y=[1, 0, 1])
    assert columns_of(layers.read_table(tmp_path / "a.npz")) == {
        "x1": [0, 2, 4], "x2": [1, 3, 5], "y": [1, 0, 1],
    }  # fmt: skip
    header = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2])
    write(tmp_path / "images-idx3-ubyte", header + bytes([0, 255, 51, 0]))
    table = layers.read_table(tmp_path / "images-idx3-ubyte")
    assert columns_of(table) == {"pixel1": [0, 0.2], "pixel2": [1, 0]}
    write(tmp_path / "labels-idx1-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 8]))
    assert layers.read_table(tmp_path / "images-idx3-ubyte")["label"].tolist() == [7, 8]
    with pytest.raises(ValueError, match="header is for CSV files, this is taken for npz"):
        layers.read_table(tmp_path / "a.npz", header=True)


def test_frames_of_pandas_with_all_that_they_hold():
    pd = pytest.importorskip("pandas", reason="the frame is its")
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None, 3], "Int64"),
            "f": [0.5, np.nan, 2],
            "b": [True, False, True],
            "s": ["a", None, " b "],
            "o": [1, None, "x"],
            "c": pd.Categorical(["u", "v", "u"]),
            "d": pd.to_datetime(["2024-01-02", None, "2024-01-03"]),
            4: [1, 2, 3],
        }
    )
    found = columns_of(layers.read_table(frame))
    np.testing.assert_array_equal(found.pop("i"), [1, np.nan, 3])
    np.testing.assert_array_equal(found.pop("f"), [0.5, np.nan, 2])
    assert found == {
        "b": ["True", "False", "True"],
        "s": ["a", None, "b"],
        "o": ["1", None, "x"],
        "c": ["u", "v", "u"],
        "d": ["2024-01-02 00:00:00", None, "2024-01-03 00:00:00"],
        "4": [1, 2, 3],
    }
    with pytest.raises(ValueError, match="more than one column is called 'a'"):
        layers.read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_mappings_are_tables_and_other_things_are_none():
    table = layers.read_table({"a": [1, None], "b": np.array(["x", "y"])})
    assert repr(table) == "Table(2 rows of a, b)"
    np.testing.assert_array_equal(table["a"], [1, np.nan])
    with pytest.raises(TypeError, match=r"source is ndarray, expected a path, a frame of pandas"):
        layers.read_table(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"has columns of \[1, 2\] rows"):
        layers.read_table({"a": [1], "b": [1, 2]})
    with pytest.raises(KeyError, match="no column is called 'c', expected one of 'a', 'b'"):
        table["c"]


@pytest.mark.parametrize(
    ("name", "package"),
    [("a.parquet", "pyarrow"), ("a.feather", "pyarrow"), ("a.xlsx", "openpyxl")],
)
def test_without_a_reader_it_is_said_what_to_install(tmp_path, name, package, monkeypatch):
    for module in ("pyarrow", "pyarrow.parquet", "pyarrow.feather", "pandas", "polars", "openpyxl"):
        monkeypatch.setitem(sys.modules, module, None)
    path = write(tmp_path / name, b"")
    with pytest.raises(ImportError, match=f"pip install {package}"):
        layers.read_table(path)
    assert cli.main(["train", str(path)]) == 2


def test_feather_and_sheets(tmp_path):
    feather = pytest.importorskip("pyarrow.feather", reason="Feather needs pyarrow")
    arrow = pytest.importorskip("pyarrow").table({"a": [1, None], "b": ["x", None]})
    feather.write_feather(arrow, tmp_path / "a.feather")
    os.rename(tmp_path / "a.feather", tmp_path / "frame")  # known by its first bytes
    table = layers.read_table(tmp_path / "frame")
    np.testing.assert_array_equal(table["a"], [1, np.nan])
    assert table["b"].tolist() == ["x", None]
    book = pytest.importorskip("openpyxl", reason="Excel needs it").Workbook()
    for row in (["a", None], [1, "x"], [None, None], ["y", 2]):
        book.active.append(row)
    book.create_sheet("other")
    book.save(tmp_path / "a.xlsx")
    table = layers.read_table(tmp_path / "a.xlsx")
    assert table["a"].tolist() == ["1", "y"]
    assert table.notes == ("sheet 'Sheet' read, the first of 2",)
    book.active["A1"] = 7
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match="sheet 'Sheet' has 3 rows, expected names in the first"):
        layers.read_table(tmp_path / "a.xlsx")


# --- decisions ------------------------------------------------------------------------------------


def mixed(n=30):
    """A column of each sort."""
    rows = np.arange(n)
    return {
        "": rows,
        "row": rows[::-1] + 5,
        "CustomerId": rows * 7 % 211,
        "same": ["x"] * n,
        "nothing": [None] * n,
        "name": [f"person {i}" for i in rows],
        "town": [f"town {i // 2}" for i in rows] if n > 42 else [f"t{i % 25}" for i in rows],
        "size": np.where(rows % 5 == 0, np.nan, rows * 0.5),
        "sort": np.array(["u", "v", None], object)[rows % 3],
        "y": rows % 2,
    }


def test_each_column_has_a_line_that_says_what_becomes_of_it():
    columns = layers.Columns().fit(mixed())
    values = (np.arange(30) * 0.5)[np.arange(30) % 5 > 0]
    mean, deviation = values.mean(), values.std()
    assert str(columns).splitlines() == [
        "y           target, 2 classes: 0 (15 rows), 1 (15 rows)",
        "(no name)   left out: it has no name",
        "row         left out: it counts the rows",
        "CustomerId  left out: an id, another number in each of 30 rows",
        "same        left out: always x",
        "nothing     left out: no values",
        "name        left out: another text in each of 30 rows",
        "town        left out: 25 different texts in 30 rows, more than 20",
        f"size        number: mean {mean:.4g}, standard deviation {deviation:.4g}; missing in 6 "
        "rows, marked",
        "sort        category: u, v; missing in 10 rows, marked",
    ]
    assert columns.names == ("size", "sort")
    assert (columns.n_in, columns.n_out, columns.task) == (5, 2, "classification")


def test_inputs_are_standardised_one_hot_and_marked():
    table = mixed()
    x, y = layers.Columns().fit(table).transform(table, "float64")
    size, sort = np.asarray(table["size"]), table["sort"]
    expected = (size - np.nanmean(size)) / np.nanstd(size)
    np.testing.assert_allclose(x[:, 0], np.nan_to_num(expected), rtol=1e-13)
    np.testing.assert_array_equal(x[:, 1], np.isnan(size))
    np.testing.assert_array_equal(x[:, 2:], np.stack([sort == s for s in ("u", "v", None)], 1))
    np.testing.assert_array_equal(y, table["y"])
    assert (x.dtype, y.dtype) == (np.float64, np.int64)


def test_keep_drop_and_more_categories_decide_otherwise():
    columns = layers.Columns(keep=["row", "name"]).fit(mixed())
    assert columns.names == ("row", "name")
    assert columns.n_in == 31
    assert "left out: not among those to keep" in str(columns)
    columns = layers.Columns(drop=["size"], categories_up_to=25).fit(mixed())
    assert columns.names == ("town", "sort")
    assert "size        left out: as asked for" in str(columns)
    with pytest.raises(ValueError, match="no column is called 'nme', expected one of '', 'row'"):
        layers.Columns(drop=["nme"]).fit(mixed())
    with pytest.raises(TypeError, match="keep is 'size', expected a list of names"):
        layers.Columns(keep="size")


def towns(n=1200, of=60, seed=0):
    """Prices that depend on a town, of which there are many, and on a size."""
    random = np.random.Generator(np.random.PCG64(seed))
    town, size = random.integers(0, of, n), random.random(n)
    worth = np.random.Generator(np.random.PCG64(5)).normal(size=of)
    price = 1e5 * (worth[town] + size)
    names = np.array([f"town {i}" for i in range(of)], object)[town]
    return {"town": names, "size": size, "price": price}


def test_many_categories_are_embedded_where_there_are_rows_to_learn_them(tmp_path):
    table = towns()
    table["town"][:5] = None
    columns = layers.Columns("price", embed_up_to=60).fit(table)
    assert "town   category, a vector is learnt of each: town 0, town 1, town 10" in str(columns)
    assert "; missing in 5 rows, marked" in str(columns)
    assert columns.embedding(3).config() == {
        "n_in": 2, "columns": [0], "sizes": [61], "width": 3,
    }  # fmt: skip
    order = sorted(set(table["town"]) - {None})
    x, _ = columns.transform(table)
    expected = [0 if town is None else 1 + order.index(town) for town in table["town"]]
    np.testing.assert_array_equal(x[:, 0], expected)
    with pytest.warns(UserWarning, match=r"'town' holds unknown categories \(elsewhere\) in 1 row"):
        x, _ = columns.transform({"town": ["elsewhere", None, "town 0"], "size": [0.5] * 3})
    assert x[:, 0].tolist() == [0, 0, 1]
    for given in ({"embed_up_to": 59}, {}):
        assert "60 different texts" in str(layers.Columns("price", **given).fit(table))
    few = {name: column[:590] for name, column in table.items()}
    columns = layers.Columns("price", embed_up_to=1000).fit(few)
    assert "60 different texts in 585 rows" in str(columns)
    assert columns.embedding() is None
    assert layers.Columns("price", ["town"], embed_up_to=60).fit(few).names == ("town",)


def test_a_predictor_learns_a_vector_of_each_of_many_categories(tmp_path):
    predictor = layers.TabularPredictor("price", seed=1).fit(towns())
    assert isinstance(predictor.model[0], layers.Embedding)
    test = towns(300, seed=2)
    found = predictor.evaluate(test)
    assert found["r2"] > 0.9
    assert layers.TabularPredictor("price", embed_up_to=0).fit(towns()).evaluate(test)["r2"] < 0.2
    predictor.save(tmp_path / "p.npz")
    again = layers.TabularPredictor.load(tmp_path / "p.npz")
    turned = {name: test[name] for name in reversed(test)}
    np.testing.assert_array_equal(again.predict(turned), predictor.predict(test))
    assert str(again.columns) == str(predictor.columns)
    assert again.columns.config() == predictor.columns.config()
    with pytest.raises(ValueError, match="column 'town' is a category, a vector is learnt of each"):
        again.save(tmp_path / "p.onnx")


def test_a_predictor_from_a_file_decides_as_before(tmp_path):
    predictor = layers.TabularPredictor(drop=["town"], categories_up_to=3, epochs=1).fit(mixed())
    predictor.save(tmp_path / "p.npz")
    again = layers.TabularPredictor.load(tmp_path / "p.npz").fit(mixed())
    assert str(again.columns) == str(predictor.columns)
    assert "left out: as asked for" in str(again.columns)


def test_columns_are_found_by_name():
    table = mixed()
    columns = layers.Columns().fit(table)
    x, _ = columns.transform(table)
    turned = {name: table[name] for name in reversed(table) if name in ("sort", "size", "y")}
    np.testing.assert_array_equal(columns.transform(turned)[0], x)
    del turned["y"]
    assert columns.transform(turned)[1] is None
    del turned["size"]
    with pytest.raises(ValueError, match="the table has no column 'size', expected those of"):
        columns.transform(turned)


def test_what_training_had_not_is_counted_and_reported():
    columns = layers.Columns().fit({"a": [1, 2, 4.0], "b": ["x", "y", "x"], "y": [0, 1, 1]})
    said = (
        "column 'a' has no value in 1 rows, .*; column 'b' holds unknown categories (.*) in 2 rows"
    )
    with pytest.warns(UserWarning, match=said.replace("(.*)", r"\(w, z\)")):
        x, _ = columns.transform({"a": [1, None, 4], "b": ["z", "w", "y"]})
    np.testing.assert_array_equal(x[:2, 1:], 0)
    assert x[1, 0] == 0
    with pytest.raises(ValueError, match=r"column 'a', row 1 holds 'u', expected a number"):
        columns.transform({"a": ["u"], "b": ["x"]})
    with pytest.raises(ValueError, match=r"target 'y' holds '2', expected classes of trai"):
        columns.transform({"a": [1], "b": ["x"], "y": [2]})
    with pytest.raises(ValueError, match=r"column 'a', row 1 holds -inf"):
        columns.transform({"a": [-np.inf], "b": ["x"]})


def test_numbers_as_text_and_categories_of_numbers_are_known_again():
    columns = layers.Columns().fit({"a": [1, 2, 4.0], "b": ["1", "y", "1"], "y": [0, 1, 1]})
    expected = columns.transform({"a": [2.0], "b": ["1"]})[0]
    np.testing.assert_array_equal(columns.transform({"a": ["2"], "b": [1]})[0], expected)


@pytest.mark.parametrize(
    ("y", "task", "classes"),
    [
        (["b", "a", "b", "a"], None, ("a", "b")),
        ([3, 1, 3, 1], None, (1, 3)),
        ([True, False, True, True], None, ("False", "True")),
        ([0.5, 1, 2, 2], None, ()),
        ([3, 1, 3, 1], "regression", ()),
        ([0.5, 1, 0.5, 1], "classification", ("0.5", "1")),
    ],
)
def test_the_values_of_the_target_tell_the_task(y, task, classes):
    table = {"a": [1.5, 2, 2, 5], "y": y}
    columns = layers.Columns(task=task).fit(table)
    assert columns.classes == classes
    assert columns.task == ("classification" if classes else "regression")
    targets = columns.transform(table, "float64")[1]
    given = columns.answers(targets)
    if classes:
        assert given.tolist() == [
            each if each in classes else str(each).removesuffix(".0") for each in y
        ]
    else:
        np.testing.assert_allclose(given, y, rtol=1e-15)
        assert abs(targets.mean()) < 1e-15


def test_more_whole_numbers_than_twenty_are_a_quantity():
    for n, task in ((20, "classification"), (21, "regression")):
        y = np.arange(2 * n) % n
        assert layers.Columns().fit({"a": np.sqrt(np.arange(2 * n)), "y": y}).task == task


def test_the_target_is_named_or_asked_for():
    table = {"Label": [0, 1, 0], "b": [1, 1, 2.5]}
    assert layers.Columns().fit(table).target == "Label"
    assert layers.Columns("b").fit(table).target == "b"
    assert layers.Columns(-1).fit(table).target == "b"
    for names in (("a", "b"), ("y", "class")):
        with pytest.raises(ValueError, match=r"target \(--target\) has to say which"):
            layers.Columns().fit(dict(zip(names, table.values(), strict=True)))
    with pytest.raises(ValueError, match="target is 'c', which is no column: the columns are"):
        layers.Columns("c").fit(table)
    with pytest.raises(ValueError, match="target 'y' has another text in each row"):
        layers.Columns().fit({"a": [1, 1, 2], "y": ["u", "v", "w"]})


def test_the_same_sums_on_any_cpu():
    """Each is rounded once, so no order of summation shows."""
    values = np.array([1e15, 1.0, -1e15, 0.5, 3.25])
    for order in (slice(None), slice(None, None, -1)):
        columns = layers.Columns().fit({"a": values[order], "y": [0, 1, 0, 1, 1]})
        assert columns.decisions[0].mean == 4.75 / 5


# --- learning -------------------------------------------------------------------------------------


def test_wine_whose_columns_differ_in_size_is_learnt():
    found = datasets.load_wine()
    table = {name: found.data[:, i] for i, name in enumerate(found.feature_names)}
    table = layers.read_table(table | {"class": found.target})
    test = np.arange(178) % 3 == 0
    predictor = layers.TabularPredictor().fit(table.rows(~test))
    assert predictor.evaluate(table.rows(test))["accuracy"] >= 0.95


def test_kaggles_mnist_learns_the_label(tmp_path):
    x, y = packaged.load_digits()
    names = ["label", *(f"pixel{i}" for i in range(64))]
    rows = [
        [str(label), *map(str, row)] for label, row in zip(y, (x * 16).astype(int), strict=True)
    ]
    table = layers.read_table(write(tmp_path / "train.csv", lines(names, rows)))
    test = np.arange(len(y)) % 4 == 0
    predictor = layers.TabularPredictor(epochs=15).fit(table.rows(~test))
    assert predictor.columns.target == "label"
    assert "pixel0   left out: always 0" in str(predictor.columns)
    assert predictor.evaluate(table.rows(test))["accuracy"] >= 0.95


def titanic(n=1000):
    """Ages that are missing, text, ids: as the passengers' list has them."""
    random = np.random.Generator(np.random.PCG64(7))
    sex, pclass = random.random(n) < 0.36, random.integers(1, 4, n)
    age = np.round(random.random(n) * 70)
    odds = 3.2 * sex - 1.1 * (pclass - 2) - 0.03 * (age - 30) - 1.2
    survived = random.random(n) < 1 / (1 + np.exp(-1.5 * odds))
    ids = random.permutation(5000)[:n]
    return {
        "PassengerId": [str(i) for i in ids],
        "Survived": [str(int(s)) for s in survived],
        "Pclass": [str(p) for p in pclass],
        "Name": [f'"Person{i}, Mr. A ""Nick"" B"' for i in ids],
        "Sex": ["female" if s else "male" for s in sex],
        "Age": ["" if i % 5 == 0 else str(int(a)) for i, a in zip(ids, age, strict=True)],
        "Ticket": [f"A/5 {i // 2}" for i in ids],
        "Embarked": ["SSCQS"[i % 5] if i % 41 else "" for i in ids],
    }


@pytest.fixture
def passengers(tmp_path, monkeypatch):
    """train.csv, test.csv without the target, and truth.csv with it."""
    monkeypatch.chdir(tmp_path)
    found = titanic()
    rows = list(zip(*found.values(), strict=True))
    write(tmp_path / "train.csv", lines(list(found), rows[:700]))
    write(tmp_path / "truth.csv", lines(list(found), rows[700:]))
    without = [row[:1] + row[2:] for row in rows[700:]]
    write(tmp_path / "test.csv", lines([name for name in found if name != "Survived"], without))
    return tmp_path


def test_a_list_of_passengers_in_four_lines(passengers):
    predictor = layers.TabularPredictor(target="Survived").fit("train.csv")
    assert predictor.columns.names == ("Pclass", "Sex", "Age", "Embarked")
    assert predictor.evaluate("truth.csv")["accuracy"] >= 0.75
    predictor.save("t.npz")
    again = layers.TabularPredictor.load("t.npz")
    assert str(again.columns) == str(predictor.columns)
    assert (again.task, again.classes, again.hidden) == ("classification", (0, 1), (128,))
    np.testing.assert_array_equal(again.predict("test.csv"), predictor.predict("truth.csv"))
    proba = predictor.predict_proba("test.csv")
    np.testing.assert_array_equal(
        layers.TabularPredictor.load("t.npz").predict_proba("test.csv"), proba
    )
    assert proba.shape == (300, 2)
    assert isinstance(layers.load("t.npz").columns, layers.Columns)
    assert again.fit("train.csv").model.fingerprint() == predictor.model.fingerprint()


def test_a_regression_answers_in_the_targets_unit(tmp_path):
    x = datasets.make_friedman1(600, 6, noise=0.5, random_state=0)
    table = {f"size {i}": x[0][:, i] for i in range(6)} | {"price": 200_000 + 25_000 * x[1]}
    table = layers.read_table(table)
    test = np.arange(600) % 4 == 0
    predictor = layers.TabularPredictor("price").fit(table.rows(~test))
    found = predictor.evaluate(table.rows(test))
    assert found["r2"] >= 0.85
    true, given = table["price"][test], predictor.predict(table.rows(test))
    np.testing.assert_allclose(found["mae"], np.abs(true - given).mean())
    np.testing.assert_allclose(found["r2"], 1 - ((true - given) ** 2).mean() / true.var())
    assert given.shape == (150,)
    with pytest.raises(ValueError, match="predictions are numbers"):
        predictor.predict_proba(table)
    predictor.save(tmp_path / "p.npz")
    again = layers.TabularPredictor.load(tmp_path / "p.npz")
    np.testing.assert_array_equal(again.predict(table.rows(test)), given)


def test_diabetes_is_learnt_better_than_without_a_scale():
    found = datasets.load_diabetes()
    table = {name: found.data[:, i] for i, name in enumerate(found.feature_names)}
    table = layers.read_table(table | {"target": found.target})
    test = np.arange(442) % 3 == 0
    predictor = layers.TabularPredictor().fit(table.rows(~test))
    assert predictor.task == "regression"
    assert predictor.evaluate(table.rows(test))["r2"] >= 0.4


def test_a_predictor_says_what_it_lacks(tmp_path):
    with pytest.raises(ValueError, match="it has learnt nothing yet, expected fit before"):
        layers.TabularPredictor().predict({"a": [1]})
    layers.Sequential([layers.Dense(2, 2)]).save(tmp_path / "m.npz")
    with pytest.raises(ValueError, match=r"m\.npz was not trained on a table by TabularPredictor"):
        layers.TabularPredictor.load(tmp_path / "m.npz")
    predictor = layers.TabularPredictor(epochs=1).fit({"a": [1, 2, 2.5], "y": ["u", "v", "u"]})
    assert "val_loss" not in predictor.history  # too few rows to set one apart
    with pytest.raises(ValueError, match="the table has no column 'y', expected the targets"):
        predictor.evaluate({"a": [1, 2]})
    assert predictor.predict({"a": [1.0, 2]}).tolist()[0] in ("u", "v")


def test_the_columns_of_a_damaged_file_are_refused(tmp_path):
    path = tmp_path / "t.npz"
    layers.TabularPredictor(hidden=(), epochs=1).fit(
        {"a": [1, 2, 2.5], "b": ["1", "1", "2"], "y": ["u", "v", "u"]}
    ).save(path)
    with zipfile.ZipFile(path) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}

    def error(change):
        architecture = json.loads(whole["architecture.json"])
        change(architecture["architecture"]["columns"])
        arrays = {
            name: np.load(io.BytesIO(whole[f"{name}.npy"])) for name in architecture["arrays"]
        }
        architecture["sha256"] = checksum(architecture["architecture"], arrays, "")
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in whole.items():
                changed = json.dumps(architecture) if name == "architecture.json" else content
                archive.writestr(name, changed)
        with pytest.raises(ValueError, match=r"t\.npz") as caught:
            layers.load(path)
        return str(caught.value)

    def of(index, **changed):
        return error(lambda c: c["columns"][index].update(changed))

    assert "has 2 columns of features, expected 3" in error(lambda c: c["columns"].pop(1))
    for index, changed in (
        (0, {"categories": ["u", 1]}),
        (0, {"counts": [1]}),
        (1, {"deviation": 0}),
        (1, {"mean": "x"}),
        (1, {"kind": "sort"}),
        (2, {"categories": [1, 2]}),
        (2, {"name": None}),
        (1, {"mean": 10**400}),
    ):
        assert "is no decision on a column" in of(index, **changed)
    assert "is no target" in of(0, kind="category", counts=[])
    assert "a dict of columns and has_names" in of(1, more=1)
    assert "a dict of columns and has_names" in error(lambda c: c.update(columns=["a", "b"]))
    assert "a dict of columns and has_names" in error(lambda c: c.pop("has_names"))
    assert "a dict of columns and has_names" in error(lambda c: c["settings"].update(more=1))
    assert "has 3 classes, expected 2" in of(0, categories=["u", "v", "w"], counts=[1, 1, 1])


def test_a_table_is_checked_where_it_is_made():
    with pytest.raises(ValueError, match="column 'a' has shape"):
        table_of("here", ["a"], [np.ones((2, 2))])
    assert len(Table((), ())) == 0


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_a_submission_in_two_commands(run, passengers):
    code, out, _ = run("train", "train.csv", "--target", "Survived", "--save", "t.npz", "--quiet")
    assert code == 0
    assert "Survived     target, 2 classes: 0 (" in out
    assert "Name         left out: another text in each of 560 rows" in out
    assert re.search(
        r"560 rows to train on, 56 of them set apart to end in time, 140 to test on", out
    )
    assert float(re.search(r"Test accuracy: ([\d.]+)%", out)[1]) >= 75
    code, out, _ = run("predict", "t.npz", "test.csv", "--id", "PassengerId", "--out", "s.csv")
    assert (code, out) == (0, "")
    header, *rows = (passengers / "s.csv").read_text().splitlines()
    assert header == "PassengerId,Survived"
    assert [row.split(",")[0] for row in rows] == titanic()["PassengerId"][700:]
    assert {row.split(",")[1] for row in rows} == {"0", "1"}
    code, out, _ = run("predict", "t.npz", "test.csv", "--id", "PassengerId", "--proba")
    assert out.startswith("PassengerId,0,1\n")
    code, out, err = run("predict", "t.npz", "test.csv", "--id", "Number")
    assert (code, out) == (2, "")
    assert "test.csv has no column 'Number', expected one of PassengerId, Pclass" in err
    code, out, _ = run("evaluate", "t.npz", "truth.csv")
    expected = layers.TabularPredictor.load("t.npz").evaluate("truth.csv")["accuracy"]
    assert f"The file's accuracy: {expected:.2%} (" in out
    _, out, _ = run("evaluate", "t.npz", "truth.csv", "--json")
    assert json.loads(out)["quality"]["accuracy"] == expected


def test_ids_are_written_as_they_are(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i:04},{i / 7},{i % 2}\n" for i in range(40))
    write(tmp_path / "a.csv", f"id,a,y\n{rows}")
    run("train", "a.csv", "--epochs", 1, "--quiet", "--save", "m.npz")
    assert run("predict", "m.npz", "a.csv", "--id", "id")[1].splitlines()[1].startswith("0000,")


def test_each_answer_comes_as_json_too(run, passengers):
    options = ("--target", "Survived", "--epochs", 2, "--quiet", "--json", "--save", "t.npz")
    code, out, err = run("train", "train.csv", *options)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["rows"] == {"train": 504, "validation": 56, "test": 140}
    assert found["columns"]["Sex"] == "category: female, male"
    assert (found["task"], found["classes"]) == ("classification", [0, 1])
    assert len(found["history"]["val_loss"]) == 2
    assert 0 <= found["quality"]["accuracy"] <= 1
    assert found["saved"] == str(passengers / "t.npz")
    found = json.loads(run("predict", "t.npz", "test.csv", "--json", "--id", "PassengerId")[1])
    assert found["ids"] == titanic()["PassengerId"][700:]
    assert set(found["predictions"]) <= {0, 1}
    np.savez("a.npz", x=np.eye(4), y=np.arange(4) % 2)
    found = json.loads(run("train", "a.npz", "--json", "--quiet", "--save", "a.m.npz")[1])
    assert (found["features"], found["classes"]) == (4, 2)
    assert json.loads(run("evaluate", "a.m.npz", "a.npz", "--json")[1])["quality"]["loss"] > 0
    assert json.loads(run("info", "--json")[1])["Python"]


def test_a_regression_on_the_command_line(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i / 7};{i % 5},5;{3 * i + 1000}\n" for i in range(100))
    write(tmp_path / "a.csv", f"a;b;price\n{rows}")
    options = ("--target", "price", "--epochs", 3, "--quiet", "--save", "m.npz")
    code, out, _ = run("train", "a.csv", *options)
    assert code == 0
    assert "price  target, number: mean 11" in out
    assert "decimal commas in b" in out
    assert re.search(
        r"Test error: [\d.]+ on average, in the unit of 'price' \(root of .*; R2 ", out
    )
    header, *lines = run("predict", "m.npz", "a.csv")[1].split()
    assert header == "price"
    assert all(500 < float(line) < 2000 for line in lines)


def test_the_curve_of_a_regression_is_drawn(run, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="the plot needs the extra 'plot'")
    monkeypatch.chdir(tmp_path)
    table = "".join(f"{i / 7},{i * 1.5}\n" for i in range(50))
    write(tmp_path / "a.csv", f"a,y\n{table}")
    assert run("train", "a.csv", "--epochs", 2, "--quiet", "--plot", "c.png")[0] == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("option", ["--target", "--drop", "--task", "--patience"])
def test_options_of_tables_are_refused_for_arrays(run, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", x=np.eye(4), y=np.arange(4) % 2)
    value = {"--task": "regression", "--patience": 3}.get(option, "y")
    assert f"{option} is for tables, a.npz is none" in run("train", "a.npz", option, value)[2]


def test_unscaled_arrays_are_said_to_be(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", x=np.eye(10) * 255, y=np.arange(10) % 2)
    out = run("train", "a.npz", "--epochs", 1, "--quiet")[1]
    assert "The inputs run up to 255, expected about -1 ... 1: scale them" in out


def test_the_page_on_tables_runs_as_it_is_written(run, passengers):
    """Its commands and its code, in the order in which they stand."""
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "python", "python", "sh"]
    names = {}
    for kind, block in blocks:
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(block, names)
            continue
        for line in block.splitlines():
            python, *arguments = shlex.split(line)
            assert (python, arguments[:2]) == ("python", ["-m", "layers"])
            code, out, err = run(*arguments[2:])
            assert code == 0, err
            if "--json" in arguments:
                assert json.loads(out)["quality"]
    assert names["predictor"].evaluate("truth.csv")["accuracy"] >= 0.75
    assert set(names["names"]) == {0, 1}
    assert (passengers / "submission.csv").read_text().startswith("PassengerId,Survived\n")


def test_a_predictor_shows_its_target_before_it_is_fitted():
    assert "target='Survived'" in repr(layers.TabularPredictor("Survived"))
