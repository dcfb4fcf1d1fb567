// An OpenID Connect provider for one client: node provider.mjs REDIRECT_URI PEOPLE.
// PEOPLE is JSON: claims by login. Whoever says a login is let in. It prints its
// issuer, and ends with its standard input.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import * as oidc from "oidc-provider";

const [redirect, peopleJSON] = process.argv.slice(2);
const people = JSON.parse(peopleJSON);

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new oidc.Provider(issuer, {
    clients: [{ client_id: "console", client_secret: "a secret of the test", redirect_uris: [redirect], grant_types: ["authorization_code"], response_types: ["code"] }],
    claims: { openid: ["sub"], profile: ["name", "preferred_username", "groups"], email: ["email", "email_verified"] },
    conformIdTokenClaims: false, // as most providers: claims of the scopes are in the ID token
    cookies: { keys: [randomUUID()] },
    findAccount: (_, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
process.stdin.resume().on("end", () => process.exit(0));
