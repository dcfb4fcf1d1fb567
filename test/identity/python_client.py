"""Drives the Python MCP SDK with its own OAuth flow: a job on standard input, and
what became of it, one JSON object a line, on standard output."""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

REDIRECT = "http://127.0.0.1:1/callback"


def emit(**line):
    print(json.dumps(line), flush=True)


class Storage:
    def __init__(self):
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Browser:
    """Follows the links as a person's browser does, up to the client's own."""

    def __init__(self):
        self.http, self.flows, self.landed = httpx2.AsyncClient(), [], None

    async def open(self, url):
        asked = parse_qs(urlsplit(url).query)
        self.flows.append({"scope": asked.get("scope", [""])[0], "resource": asked.get("resource", [""])[0]})
        while not url.startswith(REDIRECT):
            response = await self.http.get(url)
            if "location" not in response.headers:
                raise RuntimeError(f"{url}: {response.status_code} {response.text}")
            url = urljoin(url, response.headers["location"])
        self.landed = parse_qs(urlsplit(url).query)

    async def result(self):
        one = {name: values[0] for name, values in self.landed.items()}
        return AuthorizationCodeResult(code=one.get("code"), state=one.get("state"), iss=one.get("iss"))


async def main():
    job = json.load(sys.stdin)
    browser, storage = Browser(), Storage()
    auth = OAuthClientProvider(
        job["url"],
        OAuthClientMetadata(client_name="python", redirect_uris=[REDIRECT], token_endpoint_auth_method="none"),
        storage,
        redirect_handler=browser.open,
        callback_handler=browser.result,
    )
    async with httpx2.AsyncClient(auth=auth, timeout=30) as http:
        async with Client(streamable_http_client(job["url"], http_client=http), mode=job["mode"], read_timeout_seconds=30) as client:
            emit(op="connect", flows=browser.flows, version=client.protocol_version)
            tools = await client.list_tools()
            emit(op="list", tools=[tool.name for tool in tools.tools])
            for call in job["calls"]:
                browser.flows.clear()
                try:
                    result = await client.call_tool(call["name"], call.get("arguments", {}))
                    emit(op="call", name=call["name"], is_error=bool(result.is_error), flows=browser.flows,
                         text="".join(block.text for block in result.content if block.type == "text"))
                except Exception as error:
                    emit(op="call", name=call["name"], flows=browser.flows, error=f"{type(error).__name__}: {error}")
    emit(op="tokens", token=storage.tokens.access_token)


asyncio.run(main())
