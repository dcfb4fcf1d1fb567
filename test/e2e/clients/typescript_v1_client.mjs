// Drives the TypeScript MCP SDK v1 as clients/README.md says.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { readFileSync } from 'node:fs';

const emit = line => process.stdout.write(JSON.stringify(line) + '\n');
const failure = error => ({ code: typeof error.code === 'number' ? error.code : undefined, message: String(error.message ?? error) });

async function perform(client, operation) {
  if (operation.op === 'list') {
    const tools = [];
    let cursor;
    do {
      const page = await client.listTools({ cursor });
      tools.push(...page.tools.map(tool => tool.name));
      cursor = page.nextCursor;
    } while (cursor);
    return { tools };
  }
  const result = await client.callTool({ name: operation.name, arguments: operation.arguments ?? {} });
  const text = result.content.filter(block => block.type === 'text').map(block => block.text).join('');
  return { text, is_error: result.isError === true };
}

const job = JSON.parse(readFileSync(0, 'utf8'));
const transport = job.url
  ? new StreamableHTTPClientTransport(new URL(job.url), { requestInit: { headers: job.headers ?? {} } })
  : new StdioClientTransport({ command: job.command[0], args: job.command.slice(1), env: { ...process.env, ...job.env } });
let version;
transport.setProtocolVersion = (set => function (chosen) {
  version = chosen;
  return set?.call(this, chosen);
})(transport.setProtocolVersion);

const client = new Client({ name: 'typescript-v1', version: '1.0.0' });
try {
  await client.connect(transport);
} catch (error) {
  emit({ op: 'connect', error: failure(error) });
  process.exit(0);
}
emit({ op: 'connect', version });
for (const operation of job.operations) {
  try {
    emit({ op: operation.op, name: operation.name, ...(await perform(client, operation)) });
  } catch (error) {
    emit({ op: operation.op, name: operation.name, error: failure(error) });
  }
}
await transport.terminateSession?.().catch(() => {});
await client.close();
process.exit(0);
