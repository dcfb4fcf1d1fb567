// The test server of servers/README.md on the TypeScript MCP SDK v2 (both eras).
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import * as z from 'zod/v4';

const called = (name, args) => process.stderr.write(`called ${name} ${JSON.stringify(args)}\n`);

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'typescript-v2', version: '1.0.0' });
  server.registerTool(
    'add',
    { description: 'Adds two numbers.', inputSchema: z.object({ a: z.number(), b: z.number() }) },
    async ({ a, b }) => {
      called('add', { a, b });
      return { content: [{ type: 'text', text: String(a + b) }] };
    },
  );
  server.registerTool('wipe', { description: 'Deletes everything.', inputSchema: z.object({}) }, async () => {
    called('wipe', {});
    return { content: [{ type: 'text', text: 'wiped' }] };
  });
  return server;
});

const { values } = parseArgs({ options: { port: { type: 'string' } } });
const serve = toNodeHandler(handler);
createServer((request, response) => {
  if (new URL(request.url, 'http://localhost').pathname !== '/mcp') {
    response.writeHead(404).end();
    return;
  }
  serve(request, response);
}).listen(Number(values.port), '127.0.0.1');
