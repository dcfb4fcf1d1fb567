// Drives the TypeScript MCP SDK with its own OAuth flow: a job on standard input,
// and what became of it, one JSON object a line, on standard output.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { readFileSync } from 'node:fs';

const redirect = 'http://127.0.0.1:1/callback';
const emit = line => process.stdout.write(JSON.stringify(line) + '\n');
const job = JSON.parse(readFileSync(0, 'utf8'));

// browse follows the links as a person's browser does, up to the client's own.
const cookies = new Map();
async function browse(url) {
  while (!url.startsWith(redirect)) {
    const response = await fetch(url, { redirect: 'manual', headers: { cookie: [...cookies].map(([k, v]) => `${k}=${v}`).join('; ') } });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
      cookies.set(name, value);
    }
    if (!response.headers.has('location')) throw new Error(`${url}: ${response.status} ${await response.text()}`);
    url = new URL(response.headers.get('location'), url).href;
  }
  return new URL(url).searchParams;
}

let flows = [], landed, client_, tokens_, verifier;
const authProvider = {
  redirectUrl: redirect,
  clientMetadata: { client_name: 'typescript', redirect_uris: [redirect], token_endpoint_auth_method: 'none', grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] },
  clientInformation: () => client_,
  saveClientInformation: information => { client_ = information; },
  tokens: () => tokens_,
  saveTokens: tokens => { tokens_ = tokens; },
  saveCodeVerifier: text => { verifier = text; },
  codeVerifier: () => verifier,
  async redirectToAuthorization(url) {
    flows.push({ scope: url.searchParams.get('scope') ?? '', resource: url.searchParams.get('resource') ?? '' });
    landed = await browse(url.href);
  },
};

// connected opens a conversation; a person is asked at most twice.
async function connected() {
  for (let attempt = 0; ; attempt++) {
    const client = new Client({ name: 'typescript', version: '1.0.0' }, { versionNegotiation: { mode: job.mode } });
    const transport = new StreamableHTTPClientTransport(new URL(job.url), { authProvider });
    try {
      await client.connect(transport);
      return { client, transport };
    } catch (error) {
      if (!(error instanceof UnauthorizedError) || attempt > 1) throw error;
      await transport.finishAuth(landed);
    }
  }
}

let { client, transport } = await connected();
emit({ op: 'connect', flows, version: client.getNegotiatedProtocolVersion() });
emit({ op: 'list', tools: (await client.listTools()).tools.map(tool => tool.name) });
for (const call of job.calls) {
  flows = [];
  const perform = async () => {
    const result = await client.callTool({ name: call.name, arguments: call.arguments ?? {} });
    return { is_error: result.isError === true, text: result.content.filter(block => block.type === 'text').map(block => block.text).join('') };
  };
  try {
    let became;
    try {
      became = await perform();
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
      await transport.finishAuth(landed); // it has sent the person to agree to more scopes
      became = await perform();
    }
    emit({ op: 'call', name: call.name, ...became, flows });
  } catch (error) {
    emit({ op: 'call', name: call.name, flows, error: `${error.name}: ${error.message}` });
  }
}
emit({ op: 'tokens', token: tokens_.access_token });
await client.close();
process.exit(0);
