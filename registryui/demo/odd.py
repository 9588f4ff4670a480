"""An image with hostile labels, history and names, which try to break pages. Pure."""

from .bases import PATH
from .build import Made, Step, image, noise


def odd_labels() -> tuple[Made, ...]:
    """Pages must show these as plain text."""
    labels = {
        "<script>alert('name')</script>": "<script>alert('value')</script>",
        "format": "%s %n %(password)s {0} {{ settings.SECRET_KEY }} ${HOME}",
        "long": "0123456789" * 1024,
        "right-to-left": "\u202egnp.exe \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
        "lines": "first\nsecond\r\n\tthird",
        "empty": "",
        "org.opencontainers.image.source": "javascript:alert('source')",
        "org.opencontainers.image.url": "https://example.com/\"onmouseover=\"alert('url')",
        "org.opencontainers.image.title": "</title><img src=x onerror=alert('title')>",
    }
    steps = [
        Step("COPY nothing / # buildkit", noise("odd", 20_000)),
        Step("RUN /bin/sh -c echo '<script>alert(1)</script>' && true # buildkit"),
        Step(f"LABEL long={'x' * 3000}"),
    ]
    env = [PATH, "HTML=<b onclick=alert(1)>", "EMPTY=", "NO_VALUE"]
    made = image(steps, "2026-11-05T05:05:05Z", author="<i>me</i>", Env=env, Labels=labels)
    return (made.tagged("_under.score-dash", "x" * 128, "latest"),)
