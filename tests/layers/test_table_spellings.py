"""Numbers as people write them, and what is said of columns that are nearly numbers."""

import re

import numpy as np
import pytest

import layers
from layers.tables.spelling import form_of, is_form, odd_ones

N = 120
PRICES = np.arange(N) * 997.25 + 250  # from 250 to over 100,000


def table(cells):
    return {"a": cells, "b": np.sin(np.arange(N)), "y": ["no", "yes"] * (N // 2)}


def swapped(text):
    return text.translate(str.maketrans(",.", ".,"))


SPELLINGS = {
    "1,234.56": lambda v: f"{v:,.2f}",
    "$1,234.56": lambda v: f"${v:,.2f}",
    "1,234.56 €": lambda v: f"{v:,.2f} €",
    "1.234,56": lambda v: swapped(f"{v:,.2f}"),
    "1.234,56 €": lambda v: swapped(f"{v:,.2f}") + "\N{NO-BREAK SPACE}€",
    "1'234.56": lambda v: f"{v:,.2f}".replace(",", "\N{RIGHT SINGLE QUOTATION MARK}"),
    "1 234,56": lambda v: f"{v:,.2f}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace(".", ","),
    "1,234.56%": lambda v: f"{v}%",
}


@pytest.mark.parametrize("form", SPELLINGS)
def test_a_column_of_one_form_is_numbers(form):
    plain = layers.Columns("y").fit(table(PRICES))
    cells = [SPELLINGS[form](value) for value in PRICES.tolist()]
    columns = layers.Columns("y").fit(table(cells))
    assert f"a  number written like {form}: mean 5.959e+04" in str(columns)
    expected, _ = plain.transform(table(PRICES))
    for decided in (columns, layers.Columns.from_config(columns.config())):
        for source in (table(cells), table(PRICES)):  # numbers are numbers however written
            np.testing.assert_array_equal(decided.transform(source)[0], expected)


def test_negative_numbers_of_accounts():
    cells = [f"({v:,.0f})" if i % 3 else f"{v:,.0f}" for i, v in enumerate(PRICES.tolist())]
    x, _ = layers.Columns("y").fit(table(cells)).transform(table(cells))
    assert (x[np.arange(N) % 3 > 0, 0] < x[np.arange(N) % 3 == 0, 0].min()).all()


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["0,332", "1,250"], "1.234,56"),  # no group begins with 0
        (["20,323", "999"], "1,234.56"),
        (["1,234.5", "1.234,5"], ""),
        (["$5", "5"], ""),
        (["007", "12"], ""),  # plain, and text since someone wants it so
        (["(1)", "(2)"], ""),  # numbered categories
        (["1,23,456", "5"], ""),
        (["12.03.2019", "13.03.2019"], ""),
        (["192.168.0.1", "10.0.0.1"], ""),
        (["2019-01-02", "2019-01-03"], ""),
        (["--5", "(-5)"], ""),
        (["CHF 1'234.50", "CHF -5"], "CHF 1'234.56"),
    ],
)
def test_a_form_is_that_of_all_cells(cells, form):
    assert form_of(cells) == form
    assert is_form(form)


def test_a_form_outlives_the_file(tmp_path):
    """A German file whose later rows have no decimals: 1.234 is 1234 there, too."""
    path, later = tmp_path / "a.csv", tmp_path / "b.csv"
    rows = [
        f"{swapped(f'{v:,.2f}')};{'yes' if i % 2 else 'no'}\n"
        for i, v in enumerate(PRICES.tolist())
    ]
    path.write_text("a;y\n" + "".join(rows))
    later.write_text("a\n1.234\n2.345\n")
    columns = layers.Columns("y").fit(path)
    expected, _ = columns.transform({"a": [1234.0, 2345.0]})
    np.testing.assert_array_equal(columns.transform(later)[0], expected)
    with pytest.raises(
        ValueError, match=r"column 'a', row 2 holds 'x', expected a number written like 1\.234,56"
    ):
        columns.transform({"a": ["5,0", "x"]})


def test_a_target_in_a_currency_is_a_quantity():
    frame = table([f"${v:,.2f}" for v in PRICES.tolist()])
    columns = layers.Columns("a").fit(frame)
    assert columns.task == "regression"
    _, y = columns.transform(frame)
    np.testing.assert_allclose(columns.answers(y), PRICES, rtol=1e-5)
    few = frame | {"a": ["$1", "$2"] * (N // 2)}
    assert layers.Columns("a").fit(few).classes == ("$1", "$2")


def test_text_among_numbers_is_an_error_by_its_row():
    cells = list(map(str, PRICES.tolist()))
    cells[7] = "twelve"
    message = "column 'a': 119 of 120 values are numbers, but row 8 holds 'twelve'"
    with pytest.raises(ValueError, match=message):
        layers.Columns("y").fit(table(cells))
    with pytest.raises(ValueError, match=message.replace("column", "target")):
        layers.Columns("a").fit(table(cells))
    layers.Columns("y", drop=["a"]).fit(table(cells))
    with pytest.warns(UserWarning, match=f"{message}: taken as categories"):
        layers.Columns("y", keep=["a", "b"]).fit(table(cells))
    few = [str(i % 5) for i in range(N)]
    few[3] = "many"
    with pytest.warns(UserWarning, match="row 4 holds 'many': taken as categories"):
        layers.Columns("y").fit(table(few))
    cells[7] = "n/a"  # one of the spellings of a missing value
    assert odd_ones(["5"] * 8 + ["x"]) == []


def test_a_column_that_looks_like_numbers_is_not_left_out_in_silence():
    cells = [f"${v}" if i % 2 else str(v) for i, v in enumerate(PRICES.tolist())]
    message = (
        "column 'a': looks like numbers ('250.0', '$100972.25'), but written in no single form"
    )
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        predictor = layers.TabularPredictor("y", hidden=[], epochs=1).fit(table(cells))
    assert len(caught) == 1
    assert predictor.columns.names == ("b",)


def test_numbers_as_text_are_said():
    """As pandas has them of read_csv(dtype=str); codes and ids are none of that."""
    frame = table([str(i % 40) for i in range(N)])
    with pytest.warns(
        UserWarning, match=r"column 'a': holds numbers as text \('0'\), left out: conv"
    ):
        layers.Columns("y").fit(frame)
    longer = {name: list(values) * 4 for name, values in frame.items()}
    with pytest.warns(
        UserWarning, match=r"'a': holds numbers as text \('0'\), taken as categories"
    ):
        layers.Columns("y", embed_up_to=50).fit(longer)
    for cells in ([f"{i % 40:03}" for i in range(N)], [str(i + 10_000) for i in range(N)]):
        layers.Columns("y").fit(table(cells))


def test_names_that_differ_by_case_or_spaces_alone_are_said():
    frame = table(["A", "a", "b"] * (N // 3)) | {"y": ["yes", "YES", "no", "n o"] * (N // 4)}
    with pytest.warns(
        UserWarning, match="classes differ only by case or spaces: 'n o', 'no'"
    ) as caught:
        layers.Columns("y").fit(frame)
    assert "column 'a': categories differ only by case or spaces: 'A', 'a'" in str(
        caught[0].message
    )


@pytest.mark.parametrize("values", [PRICES, [f"day {i // 2}" for i in range(N)]])
def test_classes_of_next_to_no_rows_are_refused(values):
    n = len(set(values))
    with pytest.raises(ValueError, match=f"target 'a' has {n} classes in 120 rows, "):
        layers.Columns("a", task="classification").fit(table(values))
    many = [f"class {i % 12}" for i in range(N)]
    assert len(layers.Columns("a").fit(table(many)).classes) == 12
