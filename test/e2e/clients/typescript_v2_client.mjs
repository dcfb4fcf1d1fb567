// Drives the TypeScript MCP SDK v2 as clients/README.md says.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { readFileSync } from 'node:fs';

const emit = line => process.stdout.write(JSON.stringify(line) + '\n');
const failure = error => ({ code: typeof error.code === 'number' ? error.code : undefined, message: String(error.message ?? error) });

async function perform(client, operation) {
  if (operation.op === 'list') {
    const { tools } = await client.listTools();
    return { tools: tools.map(tool => tool.name) };
  }
  const result = await client.callTool({ name: operation.name, arguments: operation.arguments ?? {} });
  const text = result.content.filter(block => block.type === 'text').map(block => block.text).join('');
  return { text, is_error: result.isError === true };
}

const job = JSON.parse(readFileSync(0, 'utf8'));
const transport = job.url
  ? new StreamableHTTPClientTransport(new URL(job.url), { requestInit: { headers: job.headers ?? {} } })
  : new StdioClientTransport({ command: job.command[0], args: job.command.slice(1), env: { ...process.env, ...job.env } });

const capabilities = job.elicit ? { elicitation: { url: {} } } : {};
const client = new Client({ name: 'typescript-v2', version: '1.0.0' }, { versionNegotiation: { mode: job.mode }, capabilities });
let links = [];
if (job.elicit) {
  client.setRequestHandler('elicitation/create', async request => {
    links.push(request.params.url);
    return { action: job.elicit };
  });
}
try {
  await client.connect(transport);
} catch (error) {
  emit({ op: 'connect', error: failure(error) });
  process.exit(0);
}
emit({ op: 'connect', version: client.getNegotiatedProtocolVersion() });
for (const operation of job.operations) {
  links = [];
  try {
    emit({ op: operation.op, name: operation.name, ...(await perform(client, operation)), links });
  } catch (error) {
    emit({ op: operation.op, name: operation.name, error: failure(error) });
  }
}
await transport.terminateSession?.().catch(() => {});
await client.close();
process.exit(0);
