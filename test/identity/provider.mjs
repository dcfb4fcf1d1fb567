// An authorization server for MCP clients: node provider.mjs SETTINGS, with which
// clients register by themselves and whose access tokens are JWTs for the resource
// that they ask for. SETTINGS is JSON: people (claims by login), login (who sits at
// the browser, and agrees to everything), scopes. It prints its issuer, and ends
// with its standard input.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import * as oidc from "oidc-provider";

const { people, login, scopes } = JSON.parse(process.argv[2]);

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new oidc.Provider(issuer, {
    scopes: ["openid", "offline_access", ...scopes],
    claims: { openid: ["sub"] },
    cookies: { keys: [randomUUID()] },
    findAccount: (_, id) => people[id] && { accountId: id, claims: () => ({ sub: id }) },
    extraTokenClaims: (_, token) => people[token.accountId],
    clientDefaults: { grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], token_endpoint_auth_method: "none" },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    ttl: { AccessToken: 300 },
    features: {
      devInteractions: { enabled: false },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => ({
          scope: scopes.join(" "), audience: resource, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  });
  const serve = provider.callback();
  server.on("request", async (request, response) => {
    try {
      if (request.url.startsWith("/interaction/")) return await agree(provider, request, response);
      if (request.method === "POST" && request.url === "/reg") await unlimit(request);
      await serve(request, response);
    } catch (error) {
      response.statusCode = 500;
      response.end(String(error));
    }
  });
  console.log(issuer);
});

// unlimit lets a client register for all scopes, whichever it has heard of by then:
// this provider would hold it to those, and it could not step up.
async function unlimit(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { scope, ...metadata } = JSON.parse(Buffer.concat(chunks));
  request.body = metadata;
}

// agree is what a person does who signs in and agrees to all that is asked.
async function agree(provider, request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: login } });
  }
  const grant = (grantId && await provider.Grant.find(grantId)) || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(" "));
  for (const [resource, missing] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, missing.join(" "));
  }
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

process.stdin.resume().on("end", () => process.exit(0));
