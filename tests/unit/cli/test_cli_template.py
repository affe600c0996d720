"""``--format``: what templates print, what they may not do, and how tables are laid out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cli.template import NilList, NilMap, Record, TemplateError, listing, render
from builder.cli.template.values import float_text
from tests.support.templates import CASES, VALUE, WRONG


@pytest.mark.parametrize(("template", "expected"), CASES)
def test_templates_print_what_docker_prints(template: str, expected: str) -> None:
    assert render(template, VALUE) == expected


@pytest.mark.parametrize(("template", "expected"), WRONG)
def test_mistakes_are_told_with_their_place(template: str, expected: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template, VALUE)
    assert caught.value.message.startswith(f"the template is wrong at {expected}")
    assert caught.value.exit_code == 64


def test_lists_of_strings_are_joined() -> None:
    # Docker's own value of the table above holds lists of anything, which its join refuses.
    assert render('{{join .RepoTags ", "}}', VALUE) == "app:1, app:latest"


def test_the_word_json_means_everything() -> None:
    assert render("json", {"a": [1, None]}) == '{"a":[1,null]}'


def test_unknown_fields_of_records_are_mistakes() -> None:
    value = Record(Id="x", Config=Record(Env=["A=1"], Labels={"a": "b"}))
    assert render("{{.Config.Labels.nope}}", value) == "<no value>"
    assert render("{{.}}", value) == "{x {[A=1] map[a:b]}}"
    with pytest.raises(TemplateError, match="there is no field Envs here") as caught:
        render("{{.Config.Envs}}", value)
    assert caught.value.hint == "there are: Env, Labels"
    assert (caught.value.line, caught.value.column) == (1, 3)


def test_null_lists_and_maps_print_as_empty_ones() -> None:
    value = Record(Cmd=NilList(), Labels=NilMap())
    assert render("{{.Cmd}} {{.Labels}} {{json .}}", value) == '[] map[] {"Cmd":null,"Labels":null}'
    assert render('{{index .Labels "a"}}|{{if .Labels}}x{{else}}y{{end}}{{range .Cmd}}z{{end}}', value) == "|y"


def test_a_key_that_is_not_there() -> None:
    # In a map of strings it is an empty string for `index`, and no value for a field, as in Go.
    labels = {"Labels": {"a": "b"}}
    assert render('{{index .Labels "x"}}|{{.Labels.x}}', labels) == "|<no value>"
    assert render('{{index .M "x"}}', {"M": {"a": 1}}) == "<no value>"


def test_depth_size_and_work_are_bounded() -> None:
    with pytest.raises(TemplateError, match="deep"):
        render("{{if 1}}" * 60 + "{{end}}" * 60, {})
    with pytest.raises(TemplateError, match="deep"):
        render("{{" + "(" * 60 + "1" + ")" * 60 + "}}", {})
    with pytest.raises(TemplateError, match="the limit is"):
        render("x" * 70_000, {})
    with pytest.raises(TemplateError, match="steps"):
        render("{{range 2000}}{{range 2000}}x{{end}}{{end}}", {})
    with pytest.raises(TemplateError, match="prints more than"):
        render("{{range 2000}}{{range 500}}" + "x" * 100 + "{{end}}{{end}}", {})
    with pytest.raises(TemplateError, match="more than"):
        render('{{$x := "xxxxxxxx"}}{{range 40}}{{$x = printf "%s%s" $x $x}}{{end}}', {})
    with pytest.raises(TemplateError, match="pieces"):
        render('{{split .T ""}}', {"T": "x" * 200_000})
    with pytest.raises(TemplateError, match="join: more than"):
        render('{{join (split .T "") .T}}', {"T": "x" * 90_000})
    with pytest.raises(TemplateError, match="unexpected"):
        render("{{" + "1" * 60_000 + "x}}", {})
    assert "BADWIDTH" in render('{{printf "%99999d" 1}}', {})
    nested: object = 1
    for _ in range(150):
        nested = [nested]
    for template in ("{{.}}", "{{json .}}", '{{printf "%v" .}}'):
        with pytest.raises(TemplateError, match="deep"):
            render(template, nested)


@given(st.text(max_size=60))
def test_any_text_is_printed_or_refused(text: str) -> None:
    for template in (text, "{{" + text + "}}"):
        try:
            render(template, VALUE)
        except TemplateError:
            pass


@given(st.lists(st.sampled_from(["{{", "}}", ".Id", "if ", "range ", "end", "else", " ", "|", "(", ")", "$x", ":=", "1",
                                 '"a"', "len ", "printf ", ",", "-", "with ", "eq "]), max_size=25))  # fmt: skip
def test_any_sequence_of_words_is_printed_or_refused(words: list[str]) -> None:
    try:
        render("".join(words), VALUE)
    except TemplateError:
        pass


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_printed_so_that_they_read_back(number: float) -> None:
    assert float(float_text(number)) == number


_HEADERS = {"Repository": "REPOSITORY", "Tag": "TAG", "Size": "SIZE"}
_ROWS = [
    {"Repository": "registry.example/a/long/name", "Tag": "1", "Size": "5MB"},
    {"Repository": "b", "Tag": "latest", "Size": "12kB"},
]


def test_a_table_has_titles_and_columns_that_line_up() -> None:
    assert listing("table {{.Repository}}\\t{{.Tag}}\\t{{.Size}}", _ROWS, _HEADERS).splitlines() == [
        "REPOSITORY                     TAG       SIZE",
        "registry.example/a/long/name   1         5MB",
        "b                              latest    12kB",
    ]
    assert listing("table", _ROWS, _HEADERS) == listing("table {{.Repository}}\\t{{.Tag}}\\t{{.Size}}", _ROWS, _HEADERS)
    assert listing("table {{upper .Tag}}\\t{{.Size | lower}}", [], _HEADERS) == "TAG       SIZE"


def test_a_listing_without_table_has_a_line_for_each_row() -> None:
    assert listing("{{.Tag}}\\t{{.Size}}", _ROWS, _HEADERS) == "1\t5MB\nlatest\t12kB"
    assert (
        listing("json", _ROWS[:1], _HEADERS) == '{"Repository":"registry.example/a/long/name","Tag":"1","Size":"5MB"}'
    )
    assert listing("{{.Tag}}", [], _HEADERS) == ""
    with pytest.raises(TemplateError, match="there is no field Tagg"):
        listing("{{.Tagg}}", _ROWS, _HEADERS)
