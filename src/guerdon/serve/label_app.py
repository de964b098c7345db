"""The page where people compare: sign in with the token, prefer one of two, as many people at once as there are."""

from __future__ import annotations

import hmac
import json
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from guerdon.judges.answers import Answer, Answers
from guerdon.judges.store import StoreUnavailable
from guerdon.serve.guard import Guard
from guerdon.serve.label_queue import LabelQueue, key, written
from guerdon.serve.label_results import agreement, kappa, percent
from guerdon.serve.replay import replay
from guerdon.types import FIRST, SECOND, TIE

MOST_BYTES = 16 * 1024
"""Of a request's body: an answer and a name are short."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""On everything we send: no script but our own, nothing from elsewhere, in nobody's frame."""

CHOICES = {"first": FIRST, "second": SECOND, "tie": TIE, "skip": None}
Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class GivenAnswer(BaseModel):
    """An answer as the page sends it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    answer: Id
    pair: Id
    choice: Literal["first", "second", "tie", "skip"]
    left: Literal["first", "second"]
    seconds: float = Field(ge=0, le=1e9, allow_inf_nan=False)


class Undo(BaseModel):
    """Which answer is taken back."""

    model_config = ConfigDict(extra="forbid", strict=True)
    answer: Id


class LabelApp:
    """An ASGI application, `app`, that shows the pairs of a queue and keeps the answers.

    Args:
        queue: what is compared.
        answers: where answers go, and who is asked what.
        token: whoever has it may sign in, under a name of his choice.
        priority: of each pair, the highest first; None: those with the fewest labels first.
    """

    def __init__(
        self, queue: LabelQueue, answers: Answers, *, token: str, priority: Sequence[float] | None = None
    ) -> None:
        self.queue, self.answers, self.priority = queue, answers, priority
        self.items = [pair.item for pair in queue.pairs]
        self._token = token
        self.cookie = f"guerdon_label_{self._sign('cookie')[:8]}"  # a browser sends cookies to all ports of a host
        self._pages = Environment(
            loader=PackageLoader("guerdon.serve"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._pages.filters |= {"visible": visible, "percent": percent, "kappa": kappa}
        inner = FastAPI(title="guerdon label", docs_url=None, redoc_url=None, openapi_url=None)
        inner.add_exception_handler(HTTPException, _http_error)
        inner.add_exception_handler(StoreUnavailable, _away)
        inner.get("/")(self.home)
        inner.post("/sign-in")(self.sign_in)
        inner.post("/sign-out")(self.sign_out)
        inner.get("/pair")(self.pair)
        inner.post("/answer")(self.answer)
        inner.post("/undo")(self.undo)
        inner.get("/replay/{name}/{side}")(self.replay)
        inner.get("/agreement")(self.agreement)
        for name in ("label.css", "label.js"):
            inner.get(f"/{name}")(_file(name))
        self._replay = lru_cache(maxsize=16)(lambda path: json.dumps(replay(path)).encode("ascii"))
        self.app = _with_headers(Guard(inner, paths=[], token=None, most_bytes=MOST_BYTES))

    def home(self, request: Request, token: str = "") -> Response:
        """The page, to those who have signed in; else where one does, with the token of the address filled in."""
        person = self._person(request)
        if person is None:
            good = self._is_token(token)
            said = "" if good else "That token is not the right one." if token else ""
            return self._sign_in_page(said, token if good else "", 200 if good else 401)
        if "token" in request.query_params:
            return RedirectResponse("/", 303)
        return self._page("label.html", person=person, inside=self._next(person))

    async def sign_in(self, request: Request) -> Response:
        """Checks token and name, and gives the cookie."""
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        token, name = (form.get(field, [""])[0] for field in ("token", "name"))
        if not self._is_token(token):
            return self._sign_in_page("That token is not the right one.", "", 401, name)
        person = " ".join(unicodedata.normalize("NFC", name).split())
        if not (0 < len(person) <= 40 and person.isprintable()):
            return self._sign_in_page("A name has 1 to 40 characters that can be seen.", token, 422, name)
        reply = RedirectResponse("/", 303)
        held = f"{person.encode().hex()}.{self._sign('person', person)}"
        https = request.url.scheme == "https"
        reply.set_cookie(self.cookie, held, httponly=True, samesite="strict", secure=https, max_age=30 * 86400)
        return reply

    async def sign_out(self, request: Request) -> Response:
        """Gives back what was kept for this person, and takes the cookie away."""
        person = self._signed_in(request)
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        self._check_post(person, form.get("csrf", [""])[0])
        self.answers.release(person)
        reply = RedirectResponse("/", 303)
        reply.delete_cookie(self.cookie, httponly=True, samesite="strict")
        return reply

    def pair(self, request: Request) -> Response:
        """The pair to answer now, as the inside of the page."""
        return HTMLResponse(self._next(self._signed_in(request)))

    def answer(self, request: Request, given: GivenAnswer) -> Response:
        """Writes an answer; then the next pair."""
        person = self._signed_in(request)
        self._check_post(person, request.headers.get("x-csrf", ""))
        if (pair := self.queue.by_key.get(given.pair)) is None:
            raise HTTPException(409, "this pair is not in the queue any more")
        swapped = given.left == "second"
        self.answers.give(person, Answer(given.answer, pair.item, CHOICES[given.choice], swapped, given.seconds))
        return HTMLResponse(self._next(person))

    def undo(self, request: Request, given: Undo) -> Response:
        """Takes an answer back; then its pair."""
        person = self._signed_in(request)
        self._check_post(person, request.headers.get("x-csrf", ""))
        self.answers.undo(person, given.answer)
        return HTMLResponse(self._next(person))

    def replay(self, request: Request, name: str, side: Literal["first", "second"]) -> Response:
        """A recording's frames."""
        self._signed_in(request)
        if (pair := self.queue.by_key.get(name)) is None:
            raise HTTPException(404, "there is no such pair")
        try:
            path = self.queue.file(pair, ("first", "second").index(side))
            return Response(self._replay(path), media_type="application/json")
        except ValueError as error:
            raise HTTPException(404, str(error)) from error

    def agreement(self, request: Request) -> Response:
        """How far people agree."""
        person, found = self._signed_in(request), agreement(self.queue, self.answers)
        return self._page("agreement.html", person=person, found=found, left=self.answers.left_share())

    def _next(self, person: str) -> str:
        """What stands on the page now: the next pair, or why there is none."""
        offer = self.answers.offer(person, self.items, self.priority)
        pair = None if offer.item is None else self.queue.by_key[key(offer.item)]
        swapped = pair is not None and self._swapped(person, key(pair.item))
        sides = [] if pair is None else [("first", pair.first), ("second", pair.second)][:: -1 if swapped else 1]
        return self._pages.get_template("pair.html").render(
            pair=pair, key=pair and key(pair.item), sides=sides, prompt=pair and written(pair.prompt), offer=offer,
            last=self.answers.last(person) or "", total=len(self.items), wanted=len(self.items) * self.answers.each,
            question=self.answers.question, each=self.answers.each,
        )  # fmt: skip

    def _swapped(self, person: str, pair: str) -> bool:
        """Whether this person sees the second on the left: a coin that falls the same way when the page is reloaded."""
        return bool(sha256(f"{pair} {person}".encode()).digest()[0] & 1)

    def _page(self, name: str, person: str, status: int = 200, **values: Any) -> Response:
        values |= {"person": person, "csrf": self._sign("csrf", person), "title": self.queue.path.name}
        return HTMLResponse(self._pages.get_template(name).render(question=self.answers.question, **values), status)

    def _sign_in_page(self, said: str, token: str, status: int, name: str = "") -> Response:
        made = self._pages.get_template("sign_in.html").render(
            said=said, token=token, name=name, title=self.queue.path.name
        )
        return HTMLResponse(made, status)

    def _sign(self, *words: str) -> str:
        return hmac.new(self._token.encode(), "\n".join(words).encode(), sha256).hexdigest()

    def _is_token(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def _person(self, request: Request) -> str | None:
        name, _, signature = request.cookies.get(self.cookie, "").partition(".")
        try:
            person = bytes.fromhex(name).decode()
        except ValueError:
            return None
        signed = hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign("person", person).encode())
        return person if person and signed else None

    def _signed_in(self, request: Request) -> str:
        if (person := self._person(request)) is None:
            raise HTTPException(401, "you are not signed in here")
        return person

    def _check_post(self, person: str, given: str) -> None:
        """Refuses what a page of somebody else made this person's browser send."""
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._sign("csrf", person).encode()):
            raise HTTPException(403, "this did not come from the page: load it again")


def visible(text: str) -> str:
    """A text in which nothing is hidden: control characters and marks that turn the direction are spelled out."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def _file(name: str) -> Any:
    content = resources.files("guerdon.serve").joinpath("templates", name).read_bytes()
    kind = {".css": "text/css", ".js": "text/javascript"}[Path(name).suffix]
    return lambda: Response(content, media_type=kind)


def _with_headers(app: Any) -> Any:
    """The application, with `HEADERS` on all its replies."""
    own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def adding(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message.get("headers", []), *own]}
            await send(message)

        await app(scope, receive, adding)

    return wrapped


def _http_error(_: Any, error: Any) -> Response:
    return PlainTextResponse(str(error.detail), error.status_code)


def _away(_: Any, error: Any) -> Response:
    return PlainTextResponse(str(error), 503, {"Retry-After": "1"})
