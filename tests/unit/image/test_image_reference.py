"""References: Docker's grammar and defaults, and what is refused."""

from __future__ import annotations

import pytest

from builder.errors import ImageError
from builder.image.reference import Reference, ReferenceSyntaxError

HEX = "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("user/app:v1", "docker.io/user/app:v1", "user/app:v1"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("docker.io/user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("index.docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("host:5000/a/b/c:tag", "host:5000/a/b/c:tag", "host:5000/a/b/c:tag"),
        ("my.host/app", "my.host/app:latest", "my.host/app:latest"),
        ("Host/app", "Host/app:latest", "Host/app:latest"),
        ("[::1]:5000/app:x", "[::1]:5000/app:x", "[::1]:5000/app:x"),
        ("127.0.0.1:80/a", "127.0.0.1:80/a:latest", "127.0.0.1:80/a:latest"),
        ("a__b/c-d.e---f", "docker.io/a__b/c-d.e---f:latest", "a__b/c-d.e---f:latest"),
        (f"app@sha256:{HEX}", f"docker.io/library/app@sha256:{HEX}", f"app@sha256:{HEX}"),
        (f"app:1@sha256:{HEX}", f"docker.io/library/app:1@sha256:{HEX}", f"app:1@sha256:{HEX}"),
        ("app:" + "t" * 128, "docker.io/library/app:" + "t" * 128, "app:" + "t" * 128),
        # Shortened, these would name something else.
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("docker.io/localhost/a", "docker.io/localhost/a:latest", "docker.io/localhost/a:latest"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
        ("app:_.-", "docker.io/library/app:_.-", "app:_.-"),
    ],
)
def test_references_have_dockers_defaults(text: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == canonical
    assert reference.familiar == familiar
    assert Reference.parse(canonical) == reference
    assert Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "@",
        ":tag",
        "/app",
        "app/",
        "a//b",
        "App",
        "host.x/App",
        "app:",
        "app:ta g",
        "app:-x",
        "app:.x",
        "app:" + "t" * 129,
        "app:\u00e9",
        "app:x\n",
        "app\n",
        " app",
        "app ",
        "..",
        "../app",
        "host.x/../app",
        "./app",
        "a..b/./c",
        "a_-b",
        "-a",
        "a-",
        "a___b",
        "\u0430pp",
        "host:port/app",
        "host:123456/app",
        "-host.x/app",
        "host.x-:1/app",
        "[::1/app",
        "http://host.x/app",
        "app@",
        "app@sha256:abc",
        "app@sha512:" + "a" * 128,
        "app@sha256:" + "A" * 64,
        f"app@sha256:{HEX}\n",
        f"app@sha256:{HEX}@sha256:{HEX}",
        "app@sha256:../../../../etc/passwd",
        "a/" * 128 + "b",
        "a" * 256,
    ],
)
def test_malformed_references_are_refused_as_usage(text: str) -> None:
    with pytest.raises(ReferenceSyntaxError) as caught:
        Reference.parse(text)
    assert caught.value.exit_code == 64
    assert isinstance(caught.value, ImageError)


def test_upper_case_names_get_a_hint() -> None:
    with pytest.raises(ReferenceSyntaxError) as caught:
        Reference.parse("user/App")
    assert "lower-case" in (caught.value.hint or "")


def test_a_scheme_is_to_be_left_out() -> None:
    for scheme in ("https", "docker"):
        with pytest.raises(ImageError) as caught:
            Reference.parse(f"{scheme}://registry.example/App")
        assert caught.value.hint == f"leave out {scheme}://"
