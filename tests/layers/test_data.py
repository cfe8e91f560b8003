import bz2
import gzip
import io
import lzma
import os
import pickle
import re
import struct
import tarfile
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from layers import data

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    code = IDX_CODES[array.dtype.str[1:]]
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">"))\
        .tobytes()  # fmt: skip


def bytes_images(n: int = 5) -> np.ndarray:
    return (np.arange(n * 6) * 7 % 256).astype(np.uint8).reshape(n, 2, 3)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_inputs(x: np.ndarray, expected: object, dtype: object = np.float64) -> None:
    assert x.dtype == dtype
    assert x.dtype.isnative
    assert x.flags.c_contiguous
    assert x.flags.writeable
    np.testing.assert_array_equal(x, np.asarray(expected, dtype))


def assert_labels(labels: np.ndarray, expected: object) -> None:
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, np.asarray(expected))


# CSV: what is read.


@pytest.mark.parametrize(
    "text",
    [
        "1,2.5,0\n-3,4e1,2\n",
        "1,2.5,0\n-3,4e1,2",
        "1,2.5,0\r\n-3,4e1,2\r\n",
        "1,2.5,0\r-3,4e1,2\r",
        "\n1,2.5,0\n\n  \n-3,4e1,2\n\n",
        " 1 ,2.5 ,0\n-3,\t4e1, 2.0\n",
        '"1","2.5","0"\n"-3","4e1","2"\n',
        "\ufeff1,2.5,0\n-3,4e1,2\n",
        "\ufeffa,b,label\n1,2.5,0\n-3,4e1,2\n",
        '"a, quoted",b,label\n1,2.5,0\n-3,4e1,2\n',
        '"of two\nlines","and\n\nthree","a ""quote"""\n1,2.5,0\n-3,4e1,2\n',
        ",1st,caf\u00e9\n1,2.5,0\n-3,4e1,2\n",
    ],
)
def test_csv_forms(tmp_path, text):
    x, labels = data.read_csv(write(tmp_path / "a.csv", text))
    assert_inputs(x, [[1, 2.5], [-3, 40]])
    assert_labels(labels, [0, 2])


def test_csv_gzip_by_content_not_by_name(tmp_path):
    packed = write(tmp_path / "a.csv", gzip.compress(b"1,2,0\n3,4,1\n"))
    plain = write(tmp_path / "b.csv.gz", "1,2,0\n3,4,1\n")
    for path in (packed, plain):
        x, labels = data.read_csv(str(path))
        assert_inputs(x, [[1, 2], [3, 4]])
        assert_labels(labels, [0, 1])


@pytest.mark.parametrize(
    ("label_column", "expected_x", "expected_labels"),
    [
        (-1, [[1, 2], [4, 5]], [3, 6]),
        (2, [[1, 2], [4, 5]], [3, 6]),
        (0, [[2, 3], [5, 6]], [1, 4]),
        (-3, [[2, 3], [5, 6]], [1, 4]),
        (np.int64(1), [[1, 3], [4, 6]], [2, 5]),
        ("b", [[1, 3], [4, 6]], [2, 5]),
        ("c", [[1, 2], [4, 5]], [3, 6]),
    ],
)
def test_csv_label_column(tmp_path, label_column, expected_x, expected_labels):
    path = write(tmp_path / "a.csv", "a,b,c\n1,2,3\n4,5,6\n")
    x, labels = data.read_csv(path, label_column)
    assert_inputs(x, expected_x)
    assert_labels(labels, expected_labels)


def test_csv_nan_and_infinity_are_features(tmp_path):
    path = write(tmp_path / "a.csv", "nan,inf,1\n-Infinity,NaN,0\n")
    x, labels = data.read_csv(path)
    assert_inputs(x, [[np.nan, np.inf], [-np.inf, np.nan]])
    assert_labels(labels, [1, 0])


def test_csv_large_and_negative_labels_are_exact(tmp_path):
    path = write(tmp_path / "a.csv", f"0,{2**53}\n0,-{2**53}\n0,16777217\n")
    assert_labels(data.read_csv(path)[1], [2**53, -(2**53), 16777217])
    for beyond in (2**53 + 2, -(2**53) - 2, 2**54 - 2, 2**54, -(2**54)):
        path = write(tmp_path / "a.csv", f"5,1\n0,{beyond}\n")
        with pytest.raises(ValueError, match=r"label -?[\d.e+]+, expected an integer"):
            data.read_csv(path)


@pytest.mark.parametrize("n", [1023, 40_000])
@pytest.mark.parametrize("piece", [7, 1 << 18])
def test_csv_of_more_lines_than_a_piece(tmp_path, n, piece, monkeypatch):
    monkeypatch.setattr(data.records, "PIECE", piece * (n // 1000))
    lines = "".join(f"{row},{row / 2},{row % 7}\n" for row in range(n))
    x, labels = data.read_csv(write(tmp_path / "a.csv", lines))
    rows = np.arange(n)
    assert_inputs(x, np.stack([rows, rows / 2], axis=1))
    assert_labels(labels, rows % 7)


@settings(max_examples=50)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)),
    st.integers(-(2**53), 2**53),
)
def test_csv_round_trip(tmp_path_factory, x, label):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("".join(",".join(map(repr, [*row, label])) + "\n" for row in x.tolist()))
    for dtype in ("float32", "float64"):
        read_x, labels = data.read_csv(path, header=False, dtype=dtype)
        assert_inputs(read_x, x, dtype)
    assert_labels(labels, [label] * len(x))


def test_csv_from_a_pipe(tmp_path):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(b"1,0\n2,1\n"),))
    writer.start()
    x, labels = data.read_csv(path)
    writer.join()
    assert_inputs(x, [[1], [2]])
    assert_labels(labels, [0, 1])


# CSV: what is refused.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"is empty, expected lines of numbers"),
        ("\n \n", r"is empty, expected lines of numbers"),
        ("a,b\n", r"has a header and no rows, expected at least one"),
        ("1,2,3\n\n4,5\n", r", line 3 has 2 columns, expected 3 as in line 1$"),
        ("\na,b,c\n1,2,3,4\n", r", line 3 has 4 columns, expected 3 as in line 2$"),
        ("a,b,c\n1,2\n3,4\n", r", line 2 has 2 columns, expected 3 as in line 1$"),
        ("1,2,0\n3,four,1\n", r", line 2, column 2: 'four' is not a number, expected numbers"),
        ("a,b,c\n1,2,0\n3,4,x\n", r", line 3, column 3 \('c'\): 'x' is not a number"),
        ("1,2,0\n3,,1\n", r", line 2, column 2: is empty, expected numbers .*\(nan where"),
        ("1,2,0,\n3,4,1,\n", r", line 1 has numbers and nothing in column 4: an example with"),
        ("1,2,0\n3,1_000,1\n", r", line 2, column 2: '1_000' is not a number"),
        ("1,2,0\n3,0x10,1\n", r", line 2, column 2: '0x10' is not a number"),
        ("1,2,0\n3,\u0661,1\n", r", line 2, column 2: '\u0661' is not a number"),
        ("1,2,0\n3,4\0,1\n", r", line 2 holds a NUL, as no text does"),
        ("1,2,0\n3,4,1 # no\n", r", line 2, column 3: '1 # no' is not a number"),
        ("1,2,0\n3," + "x" * 999 + ",1\n", r", line 2, column 2: 'x{40}\.\.\.' is not a number"),
        ("1,2,0\ninf,-1e999,1\n", r", line 2, column 2: -1e999 is outside the range of float64"),
        ("1,2,0\n3,4,0.5\n", r", line 2, column 3: label 0\.5, expected an integer"),
        ("a,b\n1,2\n3,nan\n", r", line 3, column 2 \('b'\): label nan, expected an integer"),
        ("1,2\n3,inf\n", r", line 2, column 2: label inf, expected an integer"),
        ("1,2\n3,1e17\n", r", line 2, column 2: label 1e\+17, expected an integer"),
        ("1\n2\n", r"has 1 column, expected a feature and a label at least"),
        ("1;2;0\n3;4;1\n", r"has 1 column, expected a feature"),
        ("1,2,0\n3;4;1,2,3\n", r", line 2, column 1: '3;4;1' is not .* separated by commas"),
        ("1,2,0\n3,\u00e9,1\n".encode("latin-1"), r"is not text in UTF-8 .*, expected CSV"),
        ("1,2,0\n3,4,1\n".encode("utf-16"), r"is not text in UTF-8 .*, expected CSV"),
        ("x" * 200_000 + ",1\n", r", line 1: not a line of CSV \(field larger"),
    ],
)
def test_csv_errors(tmp_path, content, message):
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(ValueError, match=message) as caught:
        data.read_csv(path)
    assert str(caught.value).startswith(f"read_csv: {path}")
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,2\n1,2,0\n", r"line 1 is '0', '1', '2': an example, or the names that pandas gives"),
        ("\n0,1\n1,0\n", r"line 2 is '0', '1': an example, or the names"),
        ("a,2,c\n1,2,0\n", r"line 1 has numbers and 'a' in column 1: an example with a fault"),
        ("1,1.O,2\n1,2,0\n", r"line 1 has numbers and '1\.O' in column 2"),
        ("nan,NA,2\n1,2,0\n", r"line 1 has numbers and 'NA' in column 2"),
        ("1.O,1.O,2.O\n1,2,0\n", r"line 1 has '1\.O' in column 1: an example with a fault"),
        ("?,n/a,-\n1,2,0\n", r"line 1 has '\?' in column 1"),
        (",,\n1,2,0\n", r"line 1 has nothing in column 1"),
        ('"a,b\n1,2\n', r"line 1: a quote that is not closed"),
        ('"a\nb","c\n1,2\n', r"line 1: a quote that is not closed"),
    ],
)
def test_csv_first_line_that_is_neither_names_nor_an_example(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        data.read_csv(write(tmp_path / "a.csv", text))


@pytest.mark.parametrize("first", ["0,1,2", "3,b,1", '"a\nb",c,d', "1.O,1,0"])
def test_csv_header_is_what_it_is_said_to_be(tmp_path, first):
    path = write(tmp_path / "a.csv", f"\n{first}\n1,2,0\n3,4,1\n")
    x, labels = data.read_csv(path, header=True)
    assert_inputs(x, [[1, 2], [3, 4]])
    assert_labels(labels, [0, 1])
    if first == "0,1,2":
        assert_inputs(data.read_csv(path, header=False)[0], [[0, 1], [1, 2], [3, 4]])
    else:
        with pytest.raises(ValueError, match=r"line 2(, column|: a line break within quotes)"):
            data.read_csv(path, header=False)


@pytest.mark.parametrize("first", ["", "a\n", '"a\n\nb"\n', "\n\na\n"])
def test_csv_of_one_column_loses_no_row_without_its_number(tmp_path, first):
    path = write(tmp_path / "a.csv", f"{first}1.5\n2.5\n\n")
    assert_inputs(data.read_inputs(path), [[1.5], [2.5]])
    for blank in ("\n", " \n"):
        write(path, f"{first}1.5\n{blank}2.5\n")
        line = first.count("\n") + 2
        with pytest.raises(ValueError, match=f"line {line} is blank, expected a number"):
            data.read_inputs(path)
    if first:
        write(path, f"{first}\n1.5\n")
        with pytest.raises(ValueError, match=f"line {line - 1} is blank, expected a number"):
            data.read_inputs(path)


def test_csv_names_may_have_line_breaks_within_quotes(tmp_path):
    path = write(tmp_path / "a.csv", '"length\r\n\r\n(cm)","b ""or"" c", kind\n1,2,0\n')
    table = data.read_table(path)
    assert table.columns.names == ("length\n\n(cm)", 'b "or" c', "kind")
    assert_inputs(table.x, [[1, 2]])


def test_csv_lines_are_counted_through_a_header_of_several(tmp_path):
    path = write(tmp_path / "a.csv", '\n"a\n\nb",c\n1,2\n\n3,x\n')
    with pytest.raises(ValueError, match=r", line 7, column 2 \('c'\): 'x' is not a number"):
        data.read_csv(path)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("a,Label,c", 1), ("class,b,c", 0), ("a,TARGET,c", 1), (" y ,b,c", 0), ("a,b,c", 2),
        ("labels,b,c", 2), ("x,y,class", 2), ("class,y,target", 2),
    ],
)  # fmt: skip
def test_csv_label_by_its_name(tmp_path, header, expected):
    path = write(tmp_path / "a.csv", f"{header}\n10,11,12\n")
    assert_labels(data.read_csv(path)[1], [10 + expected])
    assert_labels(data.read_csv(path, -1)[1], [12])
    table = data.read_table(path)
    assert (table.columns.label, len(table.columns.features)) == (expected, 2)
    assert f"labels taken from column {expected + 1} " in table.notes[1]


def test_csv_of_several_names_of_labels(tmp_path):
    path = write(tmp_path / "a.csv", "label,class,c\n0,1,2\n")
    with pytest.raises(ValueError, match=r"a\.csv: 'label', 'class' are all names of labels; lab"):
        data.read_csv(path)
    assert_labels(data.read_csv(path, "class")[1], [1])


def test_a_model_takes_its_columns_by_name_and_else_by_number(tmp_path):
    model = data.read_table(write(tmp_path / "t.csv", "a,kind,b\n1,0,2\n"), label_column=1).columns

    def read(text, **options):
        path = write(tmp_path / "a.csv", text)
        table = data.read_table(path, model=model, n_features=2, **options)
        return table.x.tolist(), table.labels.tolist()

    for labels, expected in ((False, []), (None, [7])):
        assert read("kind,b,c,a\n7,2,3,1\n", labels=labels) == ([[1, 2]], expected)
        assert read("1,7,2\n", labels=labels) == ([[1, 2]], expected)
        assert read("1,2,7\n", labels=labels, label_column=-1) == ([[1, 2]], expected)
    assert read("b,a\n2,1\n", labels=False) == ([[1, 2]], [])
    assert read("1,2\n", labels=False) == ([[1, 2]], [])
    for text in ("b,a\n2,1\n", "1,2\n"):
        with pytest.raises(ValueError, match="has no column of labels, expected that of the train"):
            read(text)
    for text, message in (
        (
            "a,c\n1,2\n",
            "has 0 columns called 'b', expected each feature of the model once: 'a', 'b'",
        ),
        ("a,b,b\n1,2,3\n", "has 2 columns called 'b'"),
        ("1\n", "has 1 columns of features, expected 2"),
        ("1,2,3,4\n", "has 4 columns of features, expected 2"),
    ):
        with pytest.raises(ValueError, match=message):
            read(text, labels=False)


def test_the_place_and_the_name_of_a_label_may_disagree(tmp_path):
    model = data.read_table(write(tmp_path / "t.csv", "1,2,0\n3,4,1\n")).columns

    def read(text, **options):
        path = write(tmp_path / "a.csv", text)
        return data.read_table(path, labels=False, n_features=2, **options)

    assert_inputs(read("x,z,y\n1,2,7\n", model=model).x, [[1, 2]])
    assert_inputs(read("x,z,kind\n1,2,7\n", model=model).x, [[1, 2]])
    message = "training had the label in column 3, and here it is column 2 that is called 'y'; lab"
    with pytest.raises(ValueError, match=message):
        read("x,y,kind\n1,2,7\n", model=model)
    table = read("x,y,kind\n1,2,7\n", model=model, label_column="kind")
    assert_inputs(table.x, [[1, 2]])
    assert table.notes[1] == "column 3 ('kind') taken for the label and left out, as asked for"
    # A model that was not trained on a table knows neither.
    for text, expected, note in (
        (
            "x,y,kind\n1,2,7\n",
            [[1, 7]],
            "column 2 ('y') taken for the label and left out, by its name",
        ),
        (
            "1,2,7\n",
            [[1, 2]],
            "column 3 taken for the label and left out, the last of 3, since the",
        ),
    ):
        table = read(text)
        assert_inputs(table.x, expected)
        assert table.notes[1].startswith(note)


def test_notes_show_a_dozen_names(tmp_path):
    for n, end in ((11, "x10, kind"), (12, "x11, ... (13 in all)")):
        header = ",".join([*(f"x{i}" for i in range(n)), "kind"])
        path = write(tmp_path / "a.csv", f"{header}\n{'1,' * n}0\n")
        assert data.read_table(path).notes[0].endswith(f", {end}")


def test_a_model_with_two_columns_of_one_name_takes_them_in_order(tmp_path):
    model = data.read_table(write(tmp_path / "t.csv", "a,a,kind\n1,2,0\n")).columns
    for text in ("a,a,kind\n1,2,0\n", "a,a\n1,2\n"):
        path = write(tmp_path / "a.csv", text)
        table = data.read_table(path, labels=False, model=model, n_features=2)
        assert_inputs(table.x, [[1, 2]])
    path = write(tmp_path / "a.csv", "kind,a,a\n0,1,2\n")
    with pytest.raises(ValueError, match="2 columns called 'a'"):
        data.read_table(path, labels=False, model=model, n_features=2)


def test_names_that_are_numbers_are_known_to_a_model(tmp_path):
    model = data.read_table(write(tmp_path / "t.csv", "0,1,2\n1,2,0\n"), header=True).columns
    path = write(tmp_path / "a.csv", "0,1,kind\n5,6,7\n")
    table = data.read_table(path, labels=False, model=model, n_features=2)
    assert_inputs(table.x, [[5, 6]])


def test_csv_keeps_what_the_file_has(tmp_path):
    path = write(tmp_path / "a.csv", "x,label\n16777217,0\n0.1,1\n1e39,2\n")
    assert_inputs(data.read_csv(path)[0], [[16777217], [0.1], [1e39]])
    for dtype in ("float32", np.float32, np.dtype("f4")):
        with pytest.raises(
            ValueError, match=r"line 4, column 1 \('x'\): 1e\+39 is outside .* float32"
        ):
            data.read_csv(path, dtype=dtype)
    for dtype in ("int32", "float16", "no", object(), "f8,f8"):
        with pytest.raises(
            TypeError, match=r"read_csv: dtype is .*, expected float32, float64 or N"
        ):
            data.read_csv(path, dtype=dtype)
    with pytest.raises(TypeError, match="read_csv: header is a str, expected True, False or None"):
        data.read_csv(path, header="yes")


def test_labels_beyond_the_integers_of_float64_are_refused(tmp_path):
    for label in (2**53 + 2, -(2**53) - 2, 2**54):
        with pytest.raises(ValueError, match=r"column 2: label -?[0-9.e+]+, expected an integer"):
            data.read_csv(write(tmp_path / "a.csv", f"0.5,{label}\n"))


# Small files of much.


def peak_and_error(reader, path):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the caller looks at its text
            reader(path)
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("start", "filling", "message"),
    [
        (b"", b"\n", "more blank lines than others"),
        (b"1,2,0\n", b"\n", "line [0-9]+: more blank lines than others, expected lines of num"),
        (b"1,2,0\n", b" \t\r\n", "more blank lines than others"),
        (b"1,2,0\n", b" ", r"a\.csv, line 2 has more than 65536 characters"),
        (b"1,2,0\n", b"1", r"a\.csv, line 2 has more than 65536 characters"),
        (b"1,2,0\n", b"1,", r"a\.csv, line 2 has more than 65536 characters"),
        (b"", b"1", r"a\.csv, line 1 has more than 16777216 characters, expected numbers"),
        (b'"', b"a\n", r"a\.csv, line 1: not a line of CSV \(field larger than field limit"),
    ],
)
def test_csv_that_is_no_table_is_given_up_on(tmp_path, start, filling, message, monkeypatch):
    monkeypatch.setattr(data.records, "_BLANK", 1 << 16)  # else most of the time is tracemalloc's
    monkeypatch.setattr(data.records, "PIECE", 1 << 16)
    size = 40 << 20
    path = write(tmp_path / "a.csv", gzip.compress(start + filling * (size // len(filling)), 1))
    peak, error = peak_and_error(data.read_csv, path)
    assert re.search(message, error)
    assert peak < (100 << 20 if "16777216" in message else 24 << 20)


def test_csv_may_have_some_blank_lines_and_one_of_many_columns(tmp_path):
    text = "\n".join(["1,2,0", *[""] * 500_000, "3,4,1", *["  "] * 100_000])
    assert_inputs(data.read_csv(write(tmp_path / "a.csv", text))[0], [[1, 2], [3, 4]])
    line = ",".join(["0.5"] * 200_000 + ["1"])
    x, labels = data.read_csv(write(tmp_path / "a.csv", f"{line}\n{line}\n"))
    assert_inputs(x, np.full((2, 200_000), 0.5))
    assert_labels(labels, [1, 1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["csv", "u1", "f4", "f8", "npz"])
def test_reading_takes_at_most_twice_the_array(tmp_path, kind, dtype):
    n, width = 50_000, 64
    if kind == "csv":
        path = write(tmp_path / "a.csv", gzip.compress((b"0" + b",0" * (width - 1) + b"\n") * n, 1))
    elif kind == "npz":
        path = tmp_path / "a.npz"
        np.savez_compressed(path, x=np.zeros((n, width), dtype))
    else:
        path = write(tmp_path / "a.idx", gzip.compress(idx(np.zeros((n, width), kind)), 1))
    options = {"header": False} if kind == "csv" else {}
    tracemalloc.start()
    try:
        x = data.read_inputs(path, dtype=dtype, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert x.shape == (n, width)
    bytes_in_file = n * width * (8 if kind == "f8" else 4)
    assert peak < 2 * max(x.nbytes, bytes_in_file) + (1 << 20)


def test_shapes_that_do_not_fit_are_refused_before_the_rows_are_read(tmp_path):
    images = write(tmp_path / "images.idx", gzip.compress(idx(np.zeros((40, 1 << 20), "u1")), 1))
    labels = write(tmp_path / "l", idx(np.zeros(3, "u1")))
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((40, 1 << 17)), y=np.zeros(3, int))
    for reader, message in (
        (
            lambda path: data.read_idx_pair(path, labels),
            r"shape \(3,\), expected \(40,\): one label",
        ),
        (lambda path: data.read_table(path, labels=False, n_features=5), "1048576 columns of feat"),
    ):
        peak, error = peak_and_error(reader, images)
        assert re.search(message, error)
        assert peak < 4 << 20
    peak, error = peak_and_error(data.read_npz, tmp_path / "a.npz")
    assert "array 'y' has shape (3,), expected (40,)" in error
    assert peak < 4 << 20


# What is no table.


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "1,2,0\n")
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((2, 3)))
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a-idx3-ubyte", "a.of.its.own"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (zipped("flowers.csv"), "a zip archive of 'flowers.csv': unpack it"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (.xlsx)"),
        (zipped("mimetype", "content.xml"), "an OpenDocument file (.ods)"),
        (lzma.compress(b"1,2,0\n"), "packed by xz: unpack it"),
        (bz2.compress(b"1,2,0\n"), "packed by bzip2: unpack it"),
        (npy(), "one NumPy array (.npy)"),
        (b"PAR1\x15\x04\x15" + bytes(90) + b"PAR1", "a Parquet file: export it as CSV"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "packed by zstd"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20), "an old Office file (.xls)"),
        (tarred(), "a tar archive: unpack it"),
        (pickle.dumps([1]), "a pickle, which is not read"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page (HTML)"),
    ],
)
def test_a_file_that_is_no_table_is_named_as_what_it_is(tmp_path, name, content, what):
    path = write(tmp_path / name, content)
    for reader in (data.read, data.read_inputs):
        with pytest.raises(ValueError, match=re.escape(f"{path} is {what}")):
            reader(path)
    if not content.startswith(b"PK") and not name.endswith("npz"):
        write(path, gzip.compress(content))
        with pytest.raises(ValueError, match=re.escape(f"{path} is {what}")):
            data.read_inputs(path)


@pytest.mark.parametrize("names", ["PK,b,c", "PAR1,PAR2,c", "BZh,b,c", "ARROW1,b,c", "Rar!,b,c"])
def test_names_of_columns_are_not_taken_for_another_format(tmp_path, names):
    path = write(tmp_path / "a.data", f"{names}\n1,2,0\n")
    assert_inputs(data.read(path)[0], [[1, 2]])


def test_an_npz_under_another_name_is_one(tmp_path):
    np.savez(tmp_path / "a.npz", x=[[1.0]], y=[0])
    path = write(tmp_path / "a.csv", (tmp_path / "a.npz").read_bytes())
    with pytest.raises(ValueError, match=r"is an \.npz archive under another name: rename it"):
        data.read(path)


def test_a_path_that_is_none_has_a_place():
    for reader in (data.read, data.read_inputs, data.read_table, data.read_csv, data.read_npz):
        for path in (None, 3):
            with pytest.raises(
                TypeError, match=f"{reader.__name__}: path is a .*, expected the path"
            ):
                reader(path)
    with pytest.raises(TypeError, match="read_idx_pair: labels_path is a int, expected the path"):
        data.read_idx_pair("a-images", 3)


def test_csv_error_beyond_the_first_block(tmp_path):
    lines = ["1,2,0" + " " * 300] * 3000
    lines[2500] = "1,oops,0"
    with pytest.raises(ValueError, match="line 2501, column 2: 'oops' is not a number"):
        data.read_csv(write(tmp_path / "a.csv", "\n".join(lines)))
    lines[2500] = "1,2"
    with pytest.raises(ValueError, match="line 2501 has 2 columns, expected 3"):
        data.read_csv(write(tmp_path / "a.csv", "\n".join(lines)))
    lines[2048:] = ["1,2"] * 952  # a whole block of the wrong width parses by itself
    with pytest.raises(ValueError, match="line 2049 has 2 columns, expected 3"):
        data.read_csv(write(tmp_path / "a.csv", "\n".join(lines)))


@pytest.mark.parametrize(
    ("text", "label_column", "error", "message"),
    [
        ("a,b\n1,2\n", 2, ValueError, "label_column 2, expected an index into 2 columns, from -2"),
        ("a,b\n1,2\n", -3, ValueError, "label_column -3, expected an index into 2 columns"),
        ("a,b\n1,2\n", "c", ValueError, "'c' is the name of 0 columns, expected one of 'a', 'b'"),
        ("a,a\n1,2\n", "a", ValueError, "label_column 'a' is the name of 2 columns"),
        ("1,2\n3,4\n", "a", ValueError, "'a' is the name of 0 columns, .* no header line"),
        ("a,b\n1,2\n", 1.0, TypeError, "label_column is a float, expected an int or a str"),
        ("a,b\n1,2\n", True, TypeError, "label_column is a bool, expected an int or a str"),
        ("a,b\n1,2\n", b"a", TypeError, "label_column is a bytes, expected an int or a str"),
    ],
)
def test_csv_wrong_label_column(tmp_path, text, label_column, error, message):
    with pytest.raises(error, match=message):
        data.read_csv(write(tmp_path / "a.csv", text), label_column)


# .npz


@pytest.mark.parametrize("x_name", ["x", "X", "data", "images"])
@pytest.mark.parametrize("y_name", ["y", "labels", "target"])
def test_npz_names(tmp_path, x_name, y_name):
    path = tmp_path / "a.npz"
    np.savez(path, **{x_name: [[1.5, 2.5]], y_name: [3], "other": np.array(["text"])})
    x, labels = data.read_npz(path)
    assert_inputs(x, [[1.5, 2.5]])
    assert_labels(labels, [3])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "u2", ">i4", "u8", "f2", "f4", ">f4", "f8", ">f8", "g"]
)
def test_npz_types_and_layouts(tmp_path, save, dtype):
    path = tmp_path / "a.npz"
    images = np.arange(24).reshape(4, 2, 3) % 2
    labels = np.array([[1], [0], [1], [1]])
    save(path, images=np.asfortranarray(images.astype(dtype)), labels=labels.astype(dtype))
    x, read_labels = data.read_npz(path)
    kept = "f8" if dtype in (">i4", "u8", "f8", ">f8", "g") else "f4"
    assert_inputs(x, images.reshape(4, 6), kept)
    assert_labels(read_labels, labels[:, 0])
    for asked in ("float32", np.float64):
        assert_inputs(data.read_npz(path, dtype=asked)[0], images.reshape(4, 6), asked)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"holds no arrays, expected exactly one of x, X, data, images"),
        ({"a": 1, "b": 2}, r"holds 'a', 'b', expected exactly one of x, X, data, images"),
        ({"x": [[1.0]], "b": 2}, r"holds 'x', 'b', expected exactly one of y, labels, target"),
        ({"x": [[1.0]], "X": [[1.0]], "y": [0]}, r"holds 'x', 'X', 'y', expected exactly one"),
        ({str(i): i for i in range(99)}, r"holds '0', .*, '11', \.\.\., expected exactly one"),
        ({"x": [1.0], "y": [0]}, r"array 'x' has shape \(1,\), expected \(n, features\)"),
        ({"x": np.zeros((0, 3)), "y": []}, r"array 'x' has shape \(0, 3\), expected"),
        ({"x": np.zeros((3, 0)), "y": [0] * 3}, r"array 'x' has shape \(3, 0\), expected"),
        ({"x": [[1j]], "y": [0]}, r"array 'x' has dtype complex128, expected real numbers"),
        ({"x": [["a"]], "y": [0]}, r"array 'x' has dtype <U1, expected numbers"),
        ({"x": [[1.0]], "y": [0, 1]}, r"array 'y' has shape \(2,\), expected \(1,\): one label"),
        ({"x": [[1.0]] * 2, "y": np.eye(2)}, r"array 'y' has shape \(2, 2\), expected \(2,\)"),
        ({"x": [[1.0]], "y": [0.5]}, r"array 'y', row 0: label 0\.5, expected an integer"),
        ({"x": [[1.0]] * 2, "y": [0, np.nan]}, r"array 'y', row 1: label nan, expected an integer"),
        ({"x": [[1.0]], "y": ["cat"]}, r"array 'y' has dtype <U3, expected numbers"),
        ({"x": [[1.0]], "y": [1j]}, r"array 'y', row 0: labels have dtype complex128, expected"),
        (
            {"x": [[1.0]], "y": np.array([2**63], np.uint64)},
            r"array 'y', row 0: label 9223372036854775808, expected an integer",
        ),
        (
            {"x": [[1.0]], "y": np.array(["cat"], object)},
            r"array 'y' holds pickled Python objects, expected numbers",
        ),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        data.read_npz(path)
    assert str(caught.value).startswith(f"read_npz: {path}")


class Bomb:
    """A pickle that runs code when it is read."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.abort, ()


def test_npz_pickles_are_not_run(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([[Bomb()]]), y=[0])
    with pytest.raises(ValueError, match="holds pickled Python objects"):
        data.read_npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_truncated_at_every_offset(tmp_path, save):
    path = tmp_path / "a.npz"
    save(path, x=np.ones((3, 2)), y=np.arange(3))
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"read_npz: .*a\.npz: not a whole \.npz file"):
            data.read_npz(path)


def test_npz_body_with_a_wrong_checksum(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.full((300, 300), 7.0), y=np.zeros(300))
    whole = bytearray(path.read_bytes())
    whole[100_000] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="Bad CRC-32"):
        data.read_npz(path)


# IDX


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(IDX_CODES)).flatmap(
        lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(min_side=0, max_dims=4))
    ),
    st.booleans(),
)
def test_idx_round_trip(tmp_path_factory, array, packed):
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    read = data.read_idx(path)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert read.shape == array.shape
    assert read.flags.c_contiguous
    assert read.flags.writeable
    assert read.tobytes() == array.tobytes()


def test_idx_by_hand(tmp_path):
    content = bytes.fromhex("00000b02 00000001 00000002 0102 fffe")
    np.testing.assert_array_equal(data.read_idx(write(tmp_path / "a", content)), [[0x102, -2]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"starts with the bytes '', expected IDX"),
        ("0000", r"starts with the bytes '00 00', expected IDX"),
        ("01000801", r"starts with the bytes '01 00 08 01', expected IDX: 00 00, a type"),
        ("00000a01 00000000", r"'00 00 0a 01', .*one of 08, 09, 0b, 0c, 0d, 0e"),
        ("00000800", r"'00 00 08 00', .*the number of dimensions \(01 or more\)"),
        ("00000802 00000001 0000", r"truncated, 6 bytes of sizes, expected 8 for 2 dimensions"),
        ("00000801 00000003 0102", r"truncated, 2 bytes of data, expected 3 by its header"),
        ("00000e01 00000001 01020304", r"truncated, 4 bytes of data, expected 8 by its header"),
        ("00000801 00000001 0102", r"more data than the 1 bytes promised by its header"),
        ("00000803 00000000 ffffffff ffffffff", r"has shape \(0, 4294967295, 4294967295\)"),
        ("000008ff" + "00000001" * 255 + "07", r"has shape .* by its header"),
    ],
)
def test_idx_errors(tmp_path, content, message):
    path = write(tmp_path / "a.idx", bytes.fromhex(content))
    with pytest.raises(ValueError, match=message) as caught:
        data.read_idx(path)
    assert str(caught.value).startswith(f"read_idx: {path}")


@pytest.mark.parametrize("packed", [False, True])
def test_idx_that_claims_a_huge_size_allocates_nothing(tmp_path, packed):
    content = bytes.fromhex("00000e03 00010000 00010000 00000010") + b"12345678"
    path = write(tmp_path / "a.idx", gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="8 bytes of data, expected 549755813888 by"):
            data.read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_idx_truncated_at_every_offset(tmp_path):
    whole = idx(bytes_images())
    for end in range(len(whole)):
        path = write(tmp_path / "a.idx", whole[:end])
        with pytest.raises(ValueError, match="read_idx: "):
            data.read_idx(path)


def test_gzip_truncated_at_every_offset(tmp_path):
    whole = gzip.compress(idx(bytes_images()))
    for end in range(2, len(whole)):
        path = write(tmp_path / "a.idx.gz", whole[:end])
        with pytest.raises(ValueError, match="corrupt or truncated gzip data"):
            data.read_idx(path)


@pytest.mark.parametrize("offset", [2, 12, 20, -8, -4])
@pytest.mark.parametrize("reader", [data.read_idx, data.read_csv])
def test_gzip_with_a_changed_byte(tmp_path, reader, offset):
    content = idx(bytes_images(500)) if reader is data.read_idx else b"1,2,0\n3,4,1\n" * 500
    whole = bytearray(gzip.compress(content, mtime=0))
    whole[offset] ^= 0xFF
    path = write(tmp_path / "a.gz", bytes(whole))
    with pytest.raises(ValueError, match=str(path)):
        reader(path)


# IDX pairs


@pytest.mark.parametrize(
    ("images_name", "labels_name"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
        ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
    ],
)
def test_idx_pair_finds_the_labels(tmp_path, images_name, labels_name):
    images, labels = bytes_images(), np.array([4, 0, 255, 2, 1], np.uint8)
    for name, array in ((images_name, images), (labels_name, labels)):
        content = idx(array)
        write(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    x, read_labels = data.read_idx_pair(tmp_path / images_name)
    assert_inputs(x, images.reshape(5, 6) / 255)
    assert_labels(read_labels, labels)


def test_idx_pair_scales_bytes_only(tmp_path):
    labels = write(tmp_path / "l", idx(np.array([1, 0], np.int32)))
    whole = np.array([[0, 255], [127, 1]])
    for code, kept in (("i2", "f4"), ("i4", "f8"), ("f4", "f4"), ("f8", "f8")):
        images = write(tmp_path / "i", idx(whole.astype(code)))
        assert_inputs(data.read_idx_pair(images, labels)[0], whole, kept)
    signed = write(tmp_path / "i", idx(np.array([[0, 127], [-128, 1]], "i1")))
    assert_inputs(data.read_idx_pair(signed, labels)[0], [[0, 127], [-128, 1]], np.float32)
    images = write(tmp_path / "i", idx(whole.astype("u1")))
    x, read_labels = data.read_idx_pair(images, labels)
    assert (x.min(), x.max()) == (0, 1)
    assert_labels(read_labels, [1, 0])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (bytes_images(5), np.zeros(4, "u1"), r"l has shape \(4,\), expected \(5,\): .*i$"),
        (bytes_images(5), np.zeros((5, 1), "u1"), r"l has shape \(5, 1\), expected \(5,\)"),
        (np.zeros(5, "u1"), np.zeros(5, "u1"), r"i has shape \(5,\), expected .*height, width"),
        (bytes_images(0), np.zeros(0, "u1"), r"i has shape \(0, 2, 3\), expected"),
        (bytes_images(2), np.array([0, 0.5], "f4"), r"l, row 1: label 0\.5, expected an integer"),
    ],
)
def test_idx_pair_errors(tmp_path, images, labels, message):
    images_path = write(tmp_path / "i", idx(images))
    labels_path = write(tmp_path / "l", idx(labels))
    with pytest.raises(ValueError, match=message) as caught:
        data.read_idx_pair(images_path, labels_path)
    assert str(caught.value).startswith(f"read_idx_pair: {tmp_path}")


def test_idx_pair_without_labels(tmp_path):
    path = write(tmp_path / "train-images-idx3-ubyte.gz", idx(bytes_images()))
    message = (
        r"looked for train-labels-idx1-ubyte\.gz and train-labels-idx1-ubyte and"
        r" train-labels\.idx1-ubyte\.gz and train-labels\.idx1-ubyte; pass"
    )
    with pytest.raises(FileNotFoundError, match=message):
        data.read_idx_pair(path)
    path = write(tmp_path / "other.idx", idx(bytes_images()))
    with pytest.raises(ValueError, match=r"other\.idx: .*no 'images' in it .*pass their path"):
        data.read_idx_pair(path)


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="Debian's dataset-fashion-mnist is absent")
def test_fashion_mnist():
    x, labels = data.read(FASHION_MNIST / "t10k-images-idx3-ubyte.gz")
    assert x.shape == (10_000, 784)
    assert (x.min(), x.max()) == (0, 1)
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 10)


# read and read_inputs


def write_each_kind(folder: Path) -> dict[str, list[Path]]:
    """Write two rows of data and labels 1, 0 under names that tell, and under names that do not."""
    csv = "3,0,1\n0,6,0\n"
    images, labels = np.array([[3, 0], [0, 6]], np.int32), np.array([1, 0], np.uint8)
    write(folder / "train-labels-idx1-ubyte", idx(labels))
    write(folder / "my-labels.gz", gzip.compress(idx(labels)))
    np.savez(folder / "a.npz", x=images, y=labels)
    return {
        "csv": [
            write(folder / "a.csv", csv),
            write(folder / "A.CSV.GZ", gzip.compress(csv.encode())),
            write(folder / "a.txt", csv),
            write(folder / "a.data", csv),
            write(folder / "idx3.csv", csv),
        ],
        "npz": [folder / "a.npz", write(folder / "npz", (folder / "a.npz").read_bytes())],
        "idx": [
            write(folder / "train-images-idx3-ubyte", idx(images)),
            write(folder / "my-images.gz", gzip.compress(idx(images))),
        ],
    }


@pytest.mark.parametrize("kind", ["csv", "npz", "idx"])
def test_read_by_name_or_content(tmp_path, kind):
    for path in write_each_kind(tmp_path)[kind]:
        x, labels = data.read(path)
        assert_inputs(x, [[3, 0], [0, 6]])
        assert_labels(labels, [1, 0])


def test_read_passes_its_options_on(tmp_path):
    paths = write_each_kind(tmp_path)
    x, labels = data.read(paths["csv"][0], label_column=0)
    assert_inputs(x, [[0, 1], [6, 0]])
    assert_labels(labels, [3, 0])
    other = write(tmp_path / "other", idx(np.array([7, 8], np.uint8)))
    assert_labels(data.read(paths["idx"][0], labels=other)[1], [7, 8])
    for kind in ("csv", "npz"):
        with pytest.raises(ValueError, match=f"labels is for IDX files, this is taken for {kind}"):
            data.read(paths[kind][0], labels=other)
    for kind in ("npz", "idx"):
        with pytest.raises(ValueError, match=f"label_column is for CSV .* taken for {kind}"):
            data.read(paths[kind][0], label_column=0)
        with pytest.raises(ValueError, match=f"header is for CSV .* taken for {kind}"):
            data.read(paths[kind][0], header=True)


def test_read_inputs_without_labels(tmp_path):
    csv = write(tmp_path / "a.csv", "a,b\n3,0\n0,6\n")
    column = write(tmp_path / "b.csv", "3\n0\n")
    np.savez(tmp_path / "a.npz", data=np.array([[3, 0], [0, 6]]))
    images = write(tmp_path / "images.idx", idx(np.array([[255, 0], [0, 51]], np.uint8)))
    assert_inputs(data.read_inputs(csv), [[3, 0], [0, 6]])
    assert_inputs(data.read_inputs(column), [[3], [0]])
    assert_inputs(data.read_inputs(tmp_path / "a.npz"), [[3, 0], [0, 6]])
    assert_inputs(data.read_inputs(images), [[1, 0], [0, 51 / 255]])


@pytest.mark.parametrize("kind", ["csv", "npz", "idx"])
def test_a_table_without_labels_has_none(tmp_path, kind):
    for path in write_each_kind(tmp_path)[kind]:
        table = data.read_table(path, labels=False, n_features=2)
        assert_inputs(table.x, [[3, 0], [0, 6]], table.x.dtype)
        assert_labels(table.labels, [])
        assert (table.columns is None) == (table.notes == ()) == (kind != "csv")


def test_read_inputs_errors_name_it(tmp_path):
    csv = write(tmp_path / "a.csv", "1,2\n3,x\n")
    np.savez(tmp_path / "a.npz", y=[1])
    images = write(tmp_path / "a.idx", b"")
    for path in (csv, tmp_path / "a.npz", images):
        with pytest.raises(ValueError, match=f"read_inputs: {path}"):
            data.read_inputs(path)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a-images-idx3-ubyte", "a"])
@pytest.mark.parametrize("reader", [data.read, data.read_inputs])
def test_missing_file(tmp_path, reader, name):
    with pytest.raises(FileNotFoundError, match=f"No such file .*{name}'$"):
        reader(tmp_path / name)


# split


def test_split_keeps_rows_together_and_loses_none():
    labels = np.arange(50)
    x = np.stack([labels, labels * 2], axis=1).astype(np.float32)
    x_train, labels_train, x_test, labels_test = data.split(x, labels)
    assert (len(labels_train), len(labels_test)) == (40, 10)
    assert x_train.dtype == np.float32
    for part_x, part_labels in ((x_train, labels_train), (x_test, labels_test)):
        np.testing.assert_array_equal(part_x[:, 0], part_labels)
        np.testing.assert_array_equal(part_x[:, 1], part_labels * 2)
    np.testing.assert_array_equal(np.sort(np.concatenate([labels_train, labels_test])), labels)


def test_split_is_pinned():
    # From the first run; a NumPy that gives other rows breaks the promise in the docstring.
    rows = np.arange(10)
    _, train, _, test = data.split(rows, rows)
    np.testing.assert_array_equal(test, [3, 2])
    np.testing.assert_array_equal(train, [1, 8, 6, 0, 7, 4, 5, 9])


def test_split_by_seed():
    rows = np.arange(100)
    tests = [data.split(rows, rows, 0.25, seed)[3] for seed in (0, 0, 1, 2**70)]
    np.testing.assert_array_equal(tests[0], tests[1])
    assert len({tuple(test) for test in tests}) == 3


def test_split_takes_as_much_of_each_class():
    labels = np.repeat(["a", "b", "c"], [100, 30, 5])
    rows = np.arange(135)
    for stratify in (True, labels, labels.tolist()):
        train, labels_train, test, labels_test = data.split(rows, labels, stratify=stratify)
        assert sorted([*train, *test]) == rows.tolist()
        assert {name: int((labels_test == name).sum()) for name in "abc"} == {
            "a": 20, "b": 6, "c": 1,
        }  # fmt: skip
        np.testing.assert_array_equal(labels[train], labels_train)
        assert (np.diff(labels_test == "a") != 0).sum() > 2  # in a mixed order
    other = data.split(rows, labels, stratify=True, seed=1)[2]
    assert other.tolist() != test.tolist()
    for wrong, message in (
        ({"stratify": labels[:9]}, r"split: stratify has shape \(9,\), expected \(135,\), a class"),
        ({"stratify": 3}, r"split: stratify has shape \(\), expected \(135,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            data.split(rows, labels, **wrong)
    with pytest.raises(ValueError, match=r"split: labels has shape \(4, 2\), expected \(4,\)"):
        data.split(np.eye(4), np.eye(4)[:, :2], 0.5, stratify=True)


@pytest.mark.parametrize(
    ("n", "fraction", "n_test"), [(10, 0.25, 3), (10, 0.24, 2), (2, 0.5, 1), (3, 0.2, 1)]
)
def test_split_rounds(n, fraction, n_test):
    rows = np.arange(n)
    assert len(data.split(rows, rows, fraction)[3]) == n_test


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((3, 2)), np.zeros(4)), ValueError, r"shape \(3, 2\) and labels \(4,\)"),
        ((np.zeros(()), np.zeros(())), ValueError, r"x has shape \(\)"),
        ((np.zeros((2, 2)), np.zeros(2)), ValueError, "0.2 of 2 rows leaves 2 to train and 0"),
        ((np.zeros((2, 2)), np.zeros(2), 0.9), ValueError, "leaves 0 to train and 2 to test"),
        ((np.zeros((2, 2)), np.zeros(2), 0.0), ValueError, "test_fraction is 0.0, expected"),
        ((np.zeros((2, 2)), np.zeros(2), 1.0), ValueError, "test_fraction is 1.0, expected"),
        ((np.zeros((2, 2)), np.zeros(2), np.nan), ValueError, "test_fraction is nan, expected"),
        ((np.zeros((2, 2)), np.zeros(2), "3"), TypeError, "test_fraction is a str, expected a num"),
        ((np.zeros((2, 2)), np.zeros(2), None), TypeError, "test_fraction is a NoneType, expected"),
        ((np.zeros((2, 2)), np.zeros(2), True), TypeError, "test_fraction is a bool, expected a n"),
        (([[1], [1, 2]], np.zeros(2)), ValueError, "split: x cannot be an array"),
        ((np.zeros((2, 2)), [[1], [1, 2]]), ValueError, "split: labels cannot be an array"),
        ((np.zeros((2, 2)), np.zeros(2), 0.5, -1), ValueError, "seed is -1, expected 0 or more"),
        ((np.zeros((2, 2)), np.zeros(2), 0.5, 1.5), TypeError, "seed is a float, expected an int"),
        ((np.zeros((2, 2)), np.zeros(2), 0.5, True), TypeError, "seed is a bool, expected an int"),
    ],
)
def test_split_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        data.split(*arguments)
