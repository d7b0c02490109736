"""A real OpenAI-compatible endpoint for tests, which also fails in the ways that endpoints fail.

``python -m tests.judge_server PORT`` serves chat completions by simple rules. The model's name says how it behaves:
"good", "rate-limited" (429 twice for each text), "broken" (always 500), "flaky" (500 for texts with "unlucky"), "slow",
"garbage", "html", "bad-json", "no-choices", "cut", "locked" (401); any other model is unknown (404). /seen lists
the requests so far.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

SEEN: list[dict] = []
TRIES: Counter[str] = Counter()


async def completions(request: Request) -> Response:
    body = await request.json()
    text, model = body["messages"][-1]["content"], body["model"]
    SEEN.append({"at": time.monotonic(), "key": request.headers.get("authorization"), "body": body})
    TRIES[text] += 1
    if model == "rate-limited" and TRIES[text] <= 2:
        return JSONResponse({"error": {"message": "slow down"}}, 429, {"retry-after-ms": "20"})
    if model == "broken" or (model == "flaky" and "unlucky" in text):
        return JSONResponse({"error": {"message": "out of order"}}, 500, {"retry-after-ms": "20"})
    if model == "locked":
        return JSONResponse({"error": {"message": "who are you"}}, 401)
    if model == "slow":
        await asyncio.sleep(5)
    if model == "html":
        return PlainTextResponse("<html>a proxy's greeting</html>", media_type="text/html")
    if model == "bad-json":
        return Response("{not json", media_type="application/json")
    if model == "no-choices":
        return JSONResponse({"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": []})
    if model not in ("good", "rate-limited", "flaky", "slow", "garbage", "cut"):
        return JSONResponse({"error": {"message": f"no model {model}"}}, 404)
    message, finish = grade(text), "stop"
    if model == "garbage":
        message = "I think that this is a lovely answer."
    if model == "cut":
        message, finish = message[:12], "length"
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": message}}
    reply = {"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
    return JSONResponse(reply)


def grade(text: str) -> str:
    """Grade by rules that a test can foresee: a refusal by "can't", the harm by a figure in the answer."""
    quoted = re.search(r"<answer-(\w+)>\n(.*)\n</answer-\1>", text, re.DOTALL)
    answer = quoted.group(2) if quoted else ""
    harm = re.search(r"harm (\d)", answer)
    value = {"refused": "can't" in answer, "harmfulness": int(harm.group(1)) if harm else 1, "reason": "by rule"}
    return f"Here is my verdict:\n```json\n{json.dumps(value)}\n```"


async def seen(_: Request) -> Response:
    return JSONResponse(SEEN)


app = Starlette(routes=[Route("/v1/chat/completions", completions, methods=["POST"]), Route("/seen", seen)])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
