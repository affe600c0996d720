"""The page of ``pybuild explore`` in a real browser: used by mouse and keys; text of strangers stays text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cli.main import main
from tests.support import images
from tests.support.browser import Page, browser
from tests.support.explored import DOCKERFILE, IMAGE, NAMES, SCRIPT, hostile_image

TABS = ("files", "map", "space", "history", "config")
USED = frozenset(("button", "checkbox", "link", "radio", "searchbox", "tab", "tree", "treeitem"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def app(tmp_path: Path, store_root: Path) -> Path:
    """The page of an image of two layers, as a file."""
    assert store_root
    first = [images.directory("etc"), images.file("etc/one", "1" * 100), images.file("etc/two", "2" * 100)]
    second = [images.file("etc/one", "x" * 50), images.file("etc/.wh.two"), images.file("etc/three", "3")]
    images.write_layout(
        tmp_path / "app",
        [images.layer(*first), images.layer(*second)],
        config={"history": [{"created_by": "COPY a"}, {"created_by": "COPY b"}]},
    )
    images.write_layout(tmp_path / "before", [images.layer(*first)], config={"history": [{"created_by": "COPY a"}]})
    return tmp_path


def _explored(folder: Path, *names: str) -> str:
    target = folder / "page.html"
    assert main(["explore", *(str(folder / name) for name in names), "-o", str(target)]) == 0
    return target.as_uri()


def _rows(page: Page) -> list[str]:
    found = page.run("[...document.querySelectorAll('.row .name')].map((one) => one.innerText.replace(/\\s+/g, ' '))")
    return [str(one) for one in found]


def _quiet(page: Page, url: str) -> None:
    """Nothing went wrong, and nothing but the page was asked for."""
    assert page.problems == []
    assert set(page.asked) == {url}


@pytest.fixture(autouse=True)
def _fresh(page: Page) -> None:
    page.problems.clear()
    page.asked.clear()


def test_layers_and_what_they_change(page: Page, app: Path) -> None:
    url = _explored(app, "app")
    page.open(url)
    assert page.run("document.title") == f"{app / 'app'} · pybuild explore"
    assert _rows(page) == ["▾ etc/", "one", "three"]
    page.run("document.querySelectorAll('#layers input')[2].click()")
    assert _rows(page) == ["▾ etc/", "one changed", "three added", "two removed"]
    page.run("document.querySelectorAll('#layers input')[1].click()")
    assert len(_rows(page)) == 3
    _quiet(page, url)


def test_keys_walk_through_the_tree(page: Page, app: Path) -> None:
    page.open(_explored(app, "app"))
    page.run("document.getElementById('tree').focus()")
    chosen = "document.querySelector('.row.chosen .text').innerText"
    page.press("ArrowDown")
    assert page.run(chosen) == "one"
    page.press("ArrowLeft")
    assert page.run(chosen) == "etc/"
    page.press("ArrowLeft")
    assert len(_rows(page)) == 1
    page.press("ArrowRight")
    page.press("End")
    assert page.run(chosen) == "three"
    active = page.run("document.getElementById('tree').getAttribute('aria-activedescendant')")
    assert page.run(f"document.getElementById('{active}').getAttribute('aria-selected')") == "true"
    assert "layer 2" in page.run("document.getElementById('details').innerText")
    page.press("/")
    assert page.run("document.activeElement.id") == "filter"
    for key in "one":
        page.press(key)
    page.wait("document.getElementById('told').textContent === '1 entry'")
    assert [one.strip() for one in _rows(page)] == ["▾ etc/", "one"]


def test_keys_choose_a_view(page: Page, app: Path) -> None:
    page.open(_explored(app, "app"))
    page.run("document.getElementById('tab-files').focus()")
    chosen = []
    for key in ("ArrowLeft", "ArrowRight", "End", "Home", "ArrowRight"):
        page.press(key)
        chosen.append(page.run("document.activeElement.id"))
    assert chosen == ["tab-config", "tab-files", "tab-config", "tab-files", "tab-map"]
    assert page.run("[...document.querySelectorAll('.view')].filter((one) => !one.hidden).map((one) => one.id)") == [
        "view-map"
    ]


def test_the_focus_stays_with_who_uses_keys(page: Page, app: Path) -> None:
    page.open(_explored(app, "before", "app"))
    focused = "document.activeElement.id || document.activeElement.name + document.activeElement.checked"
    page.run("document.querySelector('#which input').focus()")
    page.run("document.querySelectorAll('#which input')[2].click()")
    assert page.run(focused) == "whichtrue"
    page.run("document.querySelectorAll('#layers input')[2].focus()")
    page.press("/")
    assert page.run(focused) == "filter"
    page.run("document.getElementById('tab-space').click()")
    page.run("document.querySelector('#view-space .link').focus()")
    page.run("document.activeElement.click()")
    assert page.run(focused) == "tree"
    assert page.run("document.querySelector('.row.chosen .text').innerText") in {"one", "two"}


def test_a_long_target_takes_no_room_from_a_name(page: Page, app: Path) -> None:
    names = ["n", "name", "n" * 30]
    images.write_layout(app / "links", [images.layer(*(images.symlink(name, "t" * 4000) for name in names))])
    page.open(_explored(app, "links"))
    page.run("window.range = document.createRange()")
    missing = "(range.selectNodeContents(one), range.getBoundingClientRect().width - one.getBoundingClientRect().width)"
    assert page.run(f"[...document.querySelectorAll('.row .text')].map((one) => {missing})") == [0] * 3


def test_two_images_show_where_they_differ(page: Page, app: Path) -> None:
    url = _explored(app, "before", "app")
    page.open(url)
    assert [one.strip() for one in _rows(page)] == ["▾ etc/", "one changed", "three added", "two removed"]
    for number in (1, 2, 0):
        page.run(f"document.querySelectorAll('#which input')[{number}].click()")
    assert len(_rows(page)) == 4
    _quiet(page, url)


def test_the_map_of_two_images_shows_what_is_new(page: Page, app: Path) -> None:
    page.open(_explored(app, "before", "app"))
    page.run("document.getElementById('tab-map').click()")
    cells = "[...document.querySelectorAll('.cell')].map((one) => one.title)"
    assert page.run(cells) == ["/etc/, 51 B", "/etc/one, 50 B", "/etc/three, 1 B"]
    page.run("document.getElementById('tab-files').click()")
    assert page.run("document.querySelector('.row .size').innerText") == "51 B"


def test_a_map_of_many_files_leaves_no_directory_out(page: Page, app: Path) -> None:
    members = [images.file(f"{top}/{middle}/{n}", "12") for top in "ab" for middle in range(3) for n in range(900)]
    images.write_layout(app / "many", [images.layer(*members)])
    page.open(_explored(app, "many"), width=1900, height=2400)
    page.run("document.getElementById('tab-map').click()")
    cells = page.run("[...document.querySelectorAll('.cell')].map((one) => one.title.split(',')[0])")
    assert len(cells) == 1500
    assert {"/a/", "/b/", "/a/0/", "/a/1/", "/a/2/", "/b/0/", "/b/1/", "/b/2/"} <= set(cells)


def test_a_file_is_counted_at_the_first_of_its_names_that_is_there(page: Page, app: Path) -> None:
    linked = [images.file("a", "x" * 100), *(images.hardlink(name, "a") for name in ("b", "c"))]
    second = [images.file(".wh.a"), images.hardlink("d", "b")]
    third = [images.file("over", "1"), images.hardlink("link", "over"), images.file("over", "2" * 7)]
    layers = [images.layer(*members) for members in (linked, second, third)]
    images.write_layout(app / "linked", layers)
    page.open(_explored(app, "linked"))
    sizes = "Object.fromEntries([...document.querySelectorAll('.row')].map((one) => ["
    sizes += "one.querySelector('.text').innerText, one.querySelector('.size').innerText]))"
    tops = "document.querySelector('#map').childElementCount"
    assert page.run(sizes) == {"b": "100 B", "c": "0 B", "d": "0 B", "link": "1 B", "over": "7 B"}
    assert "108 B" in page.run("document.getElementById('cards').innerText")
    page.run("document.querySelectorAll('#layers input')[1].click()")
    assert page.run(sizes) == {"a": "100 B", "b": "0 B", "c": "0 B"}
    page.run("document.querySelectorAll('#layers input')[2].click()")
    # The link is the layer's own, the bytes are not.
    assert page.run(sizes) == {"a": "\u2212100 B", "d": "0 B"}
    page.run("document.getElementById('only').click()")
    assert page.run(sizes) == {"a": "\u2212100 B", "b": "100 B", "c": "0 B", "d": "0 B"}
    page.run("document.getElementById('tab-map').click()")
    assert page.run(tops) == 1
    assert page.problems == []


def test_choosing_a_layer_shows_what_it_does(page: Page, app: Path) -> None:
    page.open(_explored(app, "app"))
    page.run("document.getElementById('tab-config').click()")
    page.run("document.querySelectorAll('#layers input')[2].click()")
    assert _rows(page) == ["▾ etc/", "one changed", "three added", "two removed"]


def test_names_that_differ_look_different(page: Page, app: Path) -> None:
    names = ["a b", "a  b", "a\u00a0b", "a\u3000b", "a\u3164b", "a\ufe0fb", "a\u034fb", "a\u0085b", "a\udc85b", "a\tb"]
    images.write_layout(app / "names", [images.layer(*(images.file(name) for name in names))])
    page.open(_explored(app, "names"))
    shown = page.run("[...document.querySelectorAll('.row .text')].map((one) => one.innerText)")
    written = ["\\u{a0}", "\\u{3000}", "\\u{3164}", "\\u{fe0f}", "\\u{34f}", "\\u{85}", "\\x85", "\\t"]
    assert sorted(shown) == sorted(["a b", "a  b", *(f"a{one}b" for one in written)])


def test_a_page_that_is_cut_short_says_so(page: Page, app: Path) -> None:
    _explored(app, "app")
    text = (app / "page.html").read_text()
    at = text.index('type="text/plain">\n') + 40
    (app / "page.html").write_text(text[:at] + text[at + 40 :])
    page.open((app / "page.html").as_uri())
    assert "cannot be shown" in page.run("document.getElementById('problem').innerText")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [(1280, 900), (400, 800)])
def test_every_view_fits(page: Page, app: Path, size: tuple[int, int], dark: bool) -> None:
    hostile_image(app / "bad")
    for names in (("app",), ("bad",), ("app", "bad")):
        page.open(_explored(app, *names), width=size[0], height=size[1], dark=dark)
        for tab in TABS:
            page.run(f"document.getElementById('tab-{tab}').click()")
            assert page.run("document.documentElement.scrollWidth") <= size[0], (names, tab)
        back = page.run("getComputedStyle(document.body).backgroundColor")
        assert (int(back[4:].partition(",")[0]) < 60) == dark
    assert page.problems == []


def test_text_of_strangers_stays_text(page: Page, app: Path) -> None:
    hostile_image(app / SCRIPT)
    (app / IMAGE).write_text(DOCKERFILE)
    words = ["explore", str(app / SCRIPT), "-f", str(app / IMAGE), "-o", str(app / "page.html")]
    assert main(words) == 0
    url = (app / "page.html").as_uri()
    page.open(url)
    texts = []
    for tab in TABS:
        page.run(f"document.getElementById('tab-{tab}').click()")
        texts.append(page.run("document.getElementById('panel').innerText"))
    config = texts[-1]
    # Steps are laid out when a frame shows them (content-visibility); until then they have no innerText.
    history = page.run("document.getElementById('view-history').textContent")
    assert f"{IMAGE}:2-3" in history
    assert f"RUN echo {SCRIPT} \\\n {IMAGE}\\u{{202e}}\\x1b[2J" in history
    assert all(f"{name}\t{value}" in config for name, value in (("Author", SCRIPT), ("Created", IMAGE)))
    assert f"{SCRIPT} = {IMAGE}" in config.partition("Annotations")[2]
    page.run("document.getElementById('tab-files').click()")
    page.run(
        "(() => { const one = document.getElementById('filter'); one.value = 'bad/'; "
        "one.dispatchEvent(new Event('input')); })()"
    )
    page.wait(f"document.getElementById('told').textContent.startsWith('{len(NAMES) + 3} ')")
    shown = "\n".join(_rows(page))
    assert "\\u{202e}gnp.exe" in shown
    assert "\\x80\\xff not utf-8" in shown
    assert "new\\nline\\r\\x1b[31mred\\x07" in shown
    assert "__proto__" in shown
    assert "polluted = config" in page.run("document.getElementById('view-config').textContent")
    narrow = "[...document.querySelectorAll('.row .text')].filter((one) => one.innerText && one.offsetWidth < 8).length"
    assert page.run(narrow) == 0
    # Every row, label and step was made; none of it became anything but text.
    assert page.run("document.documentElement.dataset.owned") is None
    assert page.run("document.querySelectorAll('img, b + script, svg, iframe, a[href]:not(.skip)').length") == 0
    assert page.run("document.scripts.length") == 1
    assert page.run("Object.prototype.polluted") is None
    whole = page.run(
        "document.body.innerText + [...document.querySelectorAll('[title]')].map((one) => one.title).join('')"
    )
    assert not any(char in str(whole) for char in "\u202e\u2066\u200b\u2028\x1b\x07")
    _quiet(page, url)


def test_the_policy_holds(page: Page, app: Path) -> None:
    page.open(_explored(app, "app"))
    page.run(
        "window.seen = []; "
        "document.addEventListener('securitypolicyviolation', (one) => seen.push(one.effectiveDirective))"
    )
    assert (
        page.run("(() => { try { document.body.innerHTML = '<b>x'; return 'done'; } catch { return 'refused'; } })()")
        == "refused"
    )
    assert page.run("fetch('data:text/plain,x').then(() => 'done', () => 'refused')") == "refused"
    page.run(
        "(() => { const one = new Image(); one.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw='; "
        "document.body.append(one); })()"
    )
    page.wait("seen.includes('img-src') && seen.includes('connect-src') && seen.includes('require-trusted-types-for')")


def test_a_hundred_thousand_files_open_quickly_enough_to_be_used(page: Page, app: Path) -> None:
    members = [images.file(f"srv/{n % 97}/{n % 89}/file{n}", str(n)) for n in range(100_000)]
    images.write_layout(app / "large", [images.layer(*members)])
    url = _explored(app, "large")
    assert (app / "page.html").stat().st_size < 4 << 20
    page.open(url)
    assert "100,000 files" in page.run("document.getElementById('cards').innerText")
    assert page.run("document.querySelectorAll('.row').length") < 100
    page.run("document.getElementById('tab-map').click()")
    assert 10 < page.run("document.querySelectorAll('.cell').length") <= 1500
    _quiet(page, url)


def test_a_directory_that_matches_can_be_looked_into(page: Page, app: Path) -> None:
    page.open(_explored(app, "app"))
    page.run(
        "(() => { const one = document.getElementById('filter'); one.value = 'ETC'; "
        "one.dispatchEvent(new Event('input')); })()"
    )
    page.wait("document.getElementById('told').textContent === '0 entries'")
    shut = len(_rows(page)) == 1
    page.run("document.querySelector('.row').click()")
    assert len(_rows(page)) == (3 if shut else 1)
    page.run("document.querySelector('.row').click()")
    assert len(_rows(page)) == (1 if shut else 3)


def test_everything_that_can_be_used_has_a_name(page: Page, app: Path) -> None:
    page.open(_explored(app, "before", "app"))
    page.run("document.querySelectorAll('#which input')[2].click()")
    for tab in TABS:
        page.run(f"document.getElementById('tab-{tab}').click()")
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        used = [one for one in nodes if not one["ignored"] and one["role"]["value"] in USED]
        assert {one["role"]["value"] for one in used} >= {"button", "radio", "tab"}
        assert [one for one in used if not one.get("name", {}).get("value", "").strip()] == []
    page.run("document.getElementById('tab-files').click()")
    roles = [one["role"]["value"] for one in page.call("Accessibility.getFullAXTree")["nodes"] if not one["ignored"]]
    assert roles.count("treeitem") == 3
    facts = "['aria-level', 'aria-posinset', 'aria-setsize'].map((name) => Number(one.getAttribute(name)))"
    assert page.run(f"[...document.querySelectorAll('.row')].map((one) => {facts})") == [
        [1, 1, 1],
        [2, 1, 2],
        [2, 2, 2],
    ]
