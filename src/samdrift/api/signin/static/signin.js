// Passkeys, and the secret of an invitation. Everything else on these pages works without a script.
"use strict";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function ask(path, csrf, value) {
  const answer = await fetch("/api/v1/signin/" + path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": csrf },
    body: JSON.stringify(value),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail || String(answer.status));
  return said;
}

const listed = (credentials) => (credentials || []).map((one) => ({ ...one, id: bytes(one.id) }));

async function show(csrf) {
  const { options } = await ask("passkey/options", csrf, {});
  const found = await navigator.credentials.get({
    publicKey: { ...options, challenge: bytes(options.challenge), allowCredentials: listed(options.allowCredentials) },
  });
  return ask("passkey", csrf, {
    credential: {
      id: found.id, rawId: text(found.rawId), type: found.type,
      response: {
        clientDataJSON: text(found.response.clientDataJSON), authenticatorData: text(found.response.authenticatorData),
        signature: text(found.response.signature),
        userHandle: found.response.userHandle ? text(found.response.userHandle) : null,
      },
    },
  });
}

async function make(csrf) {
  const { options } = await ask("factors/passkey/options", csrf, {});
  const made = await navigator.credentials.create({
    publicKey: {
      ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: listed(options.excludeCredentials),
    },
  });
  const name = document.querySelector("input[name=name]");
  return ask("factors/passkey", csrf, {
    name: name ? name.value : "",
    credential: {
      id: made.id, rawId: text(made.rawId), type: made.type,
      response: { clientDataJSON: text(made.response.clientDataJSON), attestationObject: text(made.response.attestationObject) },
    },
  });
}

for (const button of document.querySelectorAll("button[data-passkey]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { next } = await (button.dataset.passkey === "make" ? make : show)(button.dataset.csrf);
      location.assign(next);
    } catch (problem) {
      const said = document.createElement("p");
      said.className = "problem";
      said.id = "problem";
      said.setAttribute("role", "alert");
      // What a browser says when its owner cancels is in its own language and helps nobody.
      said.textContent = problem instanceof DOMException ? document.body.dataset.none : problem.message;
      document.querySelector(".problem")?.remove();
      document.querySelector("h1").after(said);
      button.disabled = false;
    }
  });
  button.disabled = false; // The page came with it disabled: until now a press would have been lost.
}

const secret = document.querySelector("input[name=secret]");
if (secret && location.hash.length > 1) {
  secret.value = location.hash.slice(1);
  secret.closest("label").hidden = true; // Nobody needs to look at it, and a password manager would take it for a user's name.
  history.replaceState(null, "", location.pathname);
}
