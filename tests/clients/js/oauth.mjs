// Two clients log in by OAuth 2.0: openid-client, and matrix-js-sdk with what Element Web uses.
// Whoever starts this is the browser: a line is where it is sent to, its answer where that has led.
import "./node20.mjs";
import assert from "node:assert/strict";
import { createInterface } from "node:readline/promises";

const BASE_URL = process.env.COMITY_URL;
const REDIRECT = "https://app.client.test/callback";
const METADATA = {
    client_name: "A stranger",
    client_uri: "https://client.test/",
    redirect_uris: [REDIRECT],
    response_types: ["code"],
    grant_types: [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
    ],
    token_endpoint_auth_method: "none",
    application_type: "web",
};
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function browse(url) {
    process.stdout.write(`${url}\n`);
    return (await lines.next()).value;
}

async function whoami(token) {
    const headers = { Authorization: `Bearer ${token}` };
    const response = await fetch(`${BASE_URL}_matrix/client/v3/account/whoami`, { headers });
    return [response.status, (await response.json()).device_id];
}

async function withOpenIdClient() {
    const oidc = await import("openid-client");
    const insecure = { execute: [oidc.allowInsecureRequests] };
    for (const algorithm of ["oidc", "oauth2"]) {
        const config = await oidc.dynamicClientRegistration(
            new URL(BASE_URL), METADATA, oidc.None(), { ...insecure, algorithm },
        );
        oidc.enableNonRepudiationChecks(config); // so that signatures are verified, too
        const verifier = oidc.randomPKCECodeVerifier();
        const [state, nonce] = [oidc.randomState(), oidc.randomNonce()];
        const scope = `openid urn:matrix:client:api:* urn:matrix:client:device:${algorithm}`;
        const url = oidc.buildAuthorizationUrl(config, {
            redirect_uri: REDIRECT,
            scope,
            code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
            code_challenge_method: "S256",
            state,
            nonce,
        });
        const back = new URL(await browse(url.href));
        const tokens = await oidc.authorizationCodeGrant(config, back, {
            pkceCodeVerifier: verifier,
            expectedState: state,
            expectedNonce: nonce,
            idTokenExpected: true,
        });
        assert.equal(tokens.scope, scope);
        assert.match(tokens.claims().sub, /^@.*:one\.test$/);
        assert.deepEqual(await whoami(tokens.access_token), [200, algorithm]);

        const renewed = await oidc.refreshTokenGrant(config, tokens.refresh_token);
        assert.deepEqual(await whoami(renewed.access_token), [200, algorithm]);
        assert.equal((await whoami(tokens.access_token))[0], 401);
        await oidc.tokenRevocation(config, renewed.refresh_token);
        assert.equal((await whoami(renewed.access_token))[0], 401);

        const device = await oidc.initiateDeviceAuthorization(config, {
            scope: "urn:matrix:client:api:* urn:matrix:client:device:TELEVISION",
        });
        await browse(device.verification_uri_complete);
        const theirs = await oidc.pollDeviceAuthorizationGrant(config, { ...device, interval: 0.1 });
        assert.deepEqual(await whoami(theirs.access_token), [200, "TELEVISION"]);
    }
}

// prompt=create, as "Create account" of Element Web; an answer that is lost; a token that was stolen.
async function newcomerWithMatrixJsSdk(sdk, metadata, clientId) {
    assert.ok(metadata.prompt_values_supported.includes("create"));
    const auth = new sdk.OAuth2(metadata, { clientId });
    const url = await auth.generateAuthorizationCodeGrantUrl("new", REDIRECT, "query", "create");
    const answer = new URL(await browse(url)).searchParams;
    assert.equal(answer.get("state"), "new");
    assert.equal(answer.get("iss"), metadata.issuer);
    const tokens = await auth.completeAuthorizationCodeGrant(answer.get("code"), REDIRECT);
    const client = sdk.createClient({ baseUrl: BASE_URL, accessToken: tokens.access_token });
    assert.equal((await client.whoami()).user_id, "@newcomer:one.test");

    const { TokenRefresher } = await import("matrix-js-sdk/lib/oauth/tokenRefresher.js");
    const refresher = new TokenRefresher(auth, () => {});
    await refresher.refreshTokens(tokens.refresh_token);
    const again = await refresher.refreshTokens(tokens.refresh_token);
    assert.deepEqual(await whoami(again.accessToken), [200, auth.context.deviceId]);
    await assert.rejects(
        refresher.refreshTokens(tokens.refresh_token),
        (error) => error instanceof sdk.TokenRefreshLogoutError,
    );
    assert.equal((await whoami(again.accessToken))[0], 401);
}

async function withMatrixJsSdk() {
    const sdk = await import("matrix-js-sdk");
    const { logger } = await import("matrix-js-sdk/lib/logger.js");
    if (!process.env.COMITY_VERBOSE) logger.setLevel("silent", false);
    const metadata = await sdk.createClient({ baseUrl: BASE_URL }).getAuthMetadata();
    assert.ok(sdk.isValidAuthMetadata(metadata));
    const clientId = await sdk.OAuth2.registerClient(metadata, {
        client_name: "Element, nearly",
        client_uri: "https://client.test/",
        application_type: "web",
        redirect_uris: [REDIRECT],
    });
    const auth = new sdk.OAuth2(metadata, { clientId });
    const url = await auth.generateAuthorizationCodeGrantUrl("a state", REDIRECT);
    const answer = new URLSearchParams(new URL(await browse(url)).hash.slice(1));
    assert.equal(answer.get("state"), "a state");
    const tokens = await auth.completeAuthorizationCodeGrant(answer.get("code"), REDIRECT);
    assert.deepEqual(await whoami(tokens.access_token), [200, auth.context.deviceId]);

    const { TokenRefresher } = await import("matrix-js-sdk/lib/oauth/tokenRefresher.js");
    const refresher = new TokenRefresher(auth, () => {});
    const renewed = await refresher.refreshTokens(tokens.refresh_token);
    assert.deepEqual(await whoami(renewed.accessToken), [200, auth.context.deviceId]);
    await refresher.revokeToken(renewed.accessToken, "access_token");
    assert.equal((await whoami(renewed.accessToken))[0], 401);

    await newcomerWithMatrixJsSdk(sdk, metadata, clientId);

    const session = await auth.startDeviceAuthorizationGrant();
    await browse(session.verification_uri_complete);
    const theirs = await auth.waitForDeviceAuthorizationGrant(session);
    assert.deepEqual(await whoami(theirs.access_token), [200, auth.context.deviceId]);
}

await withOpenIdClient();
await withMatrixJsSdk();
process.stdout.write("done\n");
process.exit(0);
