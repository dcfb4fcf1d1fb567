"""Drives the Python MCP SDK as clients/README.md says."""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult


def emit(**line):
    print(json.dumps(line), flush=True)


def failure(error):
    """The JSON-RPC error inside of whatever the library raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        return {"code": error.error.code, "message": error.error.message}
    return {"message": f"{type(error).__name__}: {error}"}


def opener(action, links):
    """What answers to links, None where the job says nothing of them."""
    if action is None:
        return None

    async def opened(context, params):
        links.append(params.url)
        return ElicitResult(action=action)

    return opened


async def perform(client, operation):
    if operation["op"] == "list":
        tools, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            tools += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                return {"tools": tools}
    result = await client.call_tool(operation["name"], operation.get("arguments", {}))
    text = "".join(block.text for block in result.content if block.type == "text")
    return {"text": text, "is_error": bool(result.is_error)}


async def main():
    job = json.load(sys.stdin)
    opened, links = False, []
    try:
        async with AsyncExitStack() as stack:
            if "url" in job:
                http = httpx2.AsyncClient(headers=job.get("headers", {}), timeout=30)
                await stack.enter_async_context(http)
                server = streamable_http_client(job["url"], http_client=http)
            else:
                server = StdioServerParameters(
                    command=job["command"][0], args=job["command"][1:], env={**os.environ, **job.get("env", {})}
                )
            client = await stack.enter_async_context(
                Client(server, mode=job["mode"], read_timeout_seconds=30, elicitation_callback=opener(job.get("elicit"), links))
            )
            opened = True
            emit(op="connect", version=client.protocol_version)
            for operation in job["operations"]:
                about = {key: operation[key] for key in ("op", "name") if key in operation}
                links.clear()
                try:
                    emit(**about, **await perform(client, operation), links=links)
                except Exception as error:
                    emit(**about, error=failure(error))
    except BaseException as error:
        if opened:
            raise
        emit(op="connect", error=failure(error))


asyncio.run(main())
