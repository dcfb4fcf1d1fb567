"""The test server of servers/README.md on the Python MCP SDK (both eras)."""

import argparse
import json
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("python")


def called(name, **arguments):
    print(f"called {name} {json.dumps(arguments)}", file=sys.stderr, flush=True)


@server.tool()
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    called("add", a=a, b=b)
    return str(a + b)


@server.tool()
def wipe() -> str:
    """Deletes everything."""
    called("wipe")
    return "wiped"


parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
server.run(transport="streamable-http", host="127.0.0.1", port=parser.parse_args().port)
