"""A real MCP server over streamable HTTP, made with the protocol's own library.

`python http_server.py [CERTIFICATE KEY]`, files in PEM form, for https.

It prints its address. `/moved` redirects to another place, `/large` and `/packed` answer with too much.
"""

from __future__ import annotations

import gzip
import logging
import socket
import sys

import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

server = MCPServer("real")


@server.tool()
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


@server.tool()
def fail() -> str:
    """Never works."""
    raise ValueError("out of beans")


@server.custom_route("/moved", methods=["POST"])
async def moved(request: Request) -> Response:
    return RedirectResponse("http://127.0.0.2:9/mcp", status_code=307)


@server.custom_route("/large", methods=["POST"])
async def large(request: Request) -> Response:
    return Response(b" " * (5 << 20), media_type="application/json")


@server.custom_route("/packed", methods=["POST"])
async def packed(request: Request) -> Response:
    return Response(
        gzip.compress(b" " * 1000, mtime=0), media_type="application/json", headers={"Content-Encoding": "gzip"}
    )


@server.custom_route("/closed", methods=["POST"])
async def closed(request: Request) -> Response:
    said = request.headers.get("authorization") == "Bearer open"
    return Response("let in" if said else "who are you?", status_code=418 if said else 401)


if __name__ == "__main__":
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        certificate, key = sys.argv[1:] or (None, None)
        scheme = "https" if certificate else "http"
        print(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        config = uvicorn.Config(
            server.streamable_http_app(), log_level="critical", ssl_certfile=certificate, ssl_keyfile=key
        )
        logging.disable()
        uvicorn.Server(config).run(sockets=[listening])
