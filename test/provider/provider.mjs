// An authorization server: node provider.mjs SETTINGS, the JSON of Options in
// provider.go. Access tokens for a resource are JWTs; refresh tokens are good once. It
// prints its issuer, then a line for each answer of its token endpoint, and ends with
// its standard input.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";
import * as oidc from "oidc-provider";

const { clients, people, login, scopes, resources, ttl, first, delay } = JSON.parse(process.argv[2]);

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new oidc.Provider(issuer, {
    clients,
    scopes: ["openid", "offline_access", ...scopes],
    claims: { openid: ["sub"], profile: ["name", "preferred_username", "groups"], email: ["email", "email_verified"] },
    conformIdTokenClaims: false, // as most providers: claims of the scopes are in the ID token
    cookies: { keys: [randomUUID()] },
    findAccount: (_, id) => (!people || people[id]) && { accountId: id, claims: () => ({ sub: id, ...people?.[id] }) },
    extraTokenClaims: (_, token) => people?.[token.accountId],
    clientDefaults: { grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], token_endpoint_auth_method: "none" },
    rotateRefreshToken: true,
    ttl: { AccessToken: (_, token) => token.resourceServer?.accessTokenTTL ?? ttl, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 3600 },
    ...(login && { interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` } }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: !login },
      registration: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resources?.[0],
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, asked) => {
          if (resources && !resources.includes(asked)) throw new oidc.errors.InvalidTarget();
          const isFirst = ctx.oidc.params?.grant_type === "authorization_code";
          return {
            scope: scopes.join(" "), audience: asked, accessTokenTTL: (isFirst && first) || ttl,
            accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } },
          };
        },
      },
    },
  });
  provider.on("grant.success", (ctx) => console.log(ctx.oidc.params.grant_type));
  provider.on("grant.error", (ctx, err) => console.log(`${ctx.oidc.params?.grant_type} ${err.error}`));
  provider.on("server_error", (_, err) => console.error(err));
  const serve = provider.callback();
  server.on("request", async (request, response) => {
    try {
      if (login && request.url.startsWith("/interaction/")) return await agree(provider, request, response);
      if (login && request.method === "POST" && request.url === "/reg") await unlimit(request);
      if (delay && request.url === "/token") await setTimeout(delay);
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
