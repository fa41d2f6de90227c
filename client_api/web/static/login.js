// Logs in for a client that shows this page, and tells it: window.matrixLogin.onLogin(response).
// Spec: client-server API, login fallback.
"use strict";

const form = document.getElementById("form");
const notice = document.getElementById("notice");
const query = new URLSearchParams(window.location.search);

// What of /login's parameters is no credential, as the query may have it.
function parameters() {
  const found = {};
  for (const key of ["device_id", "initial_device_display_name"]) {
    if (query.has(key)) found[key] = query.get(key);
  }
  if (query.get("refresh_token") === "true") found.refresh_token = true;
  return found;
}

function identifier(text) {
  const isAddress = text.includes("@") && !text.startsWith("@");
  return isAddress
    ? { type: "m.id.thirdparty", medium: "email", address: text }
    : { type: "m.id.user", user: text };
}

async function logIn(credentials) {
  notice.hidden = true;
  let answer;
  try {
    const response = await fetch("/_matrix/client/v3/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...parameters(), ...credentials }),
    });
    answer = await response.json();
    if (!response.ok) throw new Error(answer.error || "That did not work");
  } catch (error) {
    notice.textContent = error.message;
    notice.hidden = false;
    return;
  }
  form.hidden = true;
  document.getElementById("done").hidden = false;
  if (window.matrixLogin && window.matrixLogin.onLogin) window.matrixLogin.onLogin(answer);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  logIn({
    type: "m.login.password",
    identifier: identifier(document.getElementById("user").value.trim()),
    password: document.getElementById("password").value,
  });
});

// Back from a provider.
if (query.has("loginToken")) {
  logIn({ type: "m.login.token", token: query.get("loginToken") });
  query.delete("loginToken");
  const rest = query.toString();
  window.history.replaceState(null, "", window.location.pathname + (rest ? `?${rest}` : ""));
}
