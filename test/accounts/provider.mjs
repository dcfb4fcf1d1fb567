// An authorization server for servers of others: node provider.mjs RESOURCE SCOPE.
// Clients register themselves; whoever says a login is let in, and agrees. Access
// tokens are JWTs for RESOURCE; refresh tokens are good once. It prints its issuer,
// then a line for each grant type that has succeeded, and ends with its standard input.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import * as oidc from "oidc-provider";

const [resource, scope] = process.argv.slice(2);

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new oidc.Provider(issuer, {
    cookies: { keys: [randomUUID()] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    rotateRefreshToken: true,
    ttl: { AccessToken: 3600, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 3600 },
    features: {
      registration: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resource,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, asked) => {
          if (asked !== resource) throw new oidc.errors.InvalidTarget();
          return { scope, audience: resource, accessTokenFormat: "jwt", accessTokenTTL: 3600 };
        },
      },
    },
  });
  provider.on("grant.success", (ctx) => console.log(ctx.oidc.params.grant_type));
  provider.on("server_error", (_, err) => console.error(err));
  server.on("request", provider.callback());
  console.log(issuer);
});
process.stdin.resume().on("end", () => process.exit(0));
