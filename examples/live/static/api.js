// The API: gets a token if asked to, sends the body, and shows the answer as it came.

const form = document.querySelector("[data-tokens]");
const answer = document.getElementById("answer");

async function getToken(scope) {
  const response = await fetch(form.dataset.tokens, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ scope }),
  });
  return (await response.json()).token;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { scope, body } = Object.fromEntries(new FormData(form));
  const headers = { "content-type": "application/json" };
  if (scope) headers.authorization = `Bearer ${await getToken(scope)}`;
  const response = await fetch(form.dataset.stars, { method: "POST", headers, body });
  const challenge = response.headers.get("www-authenticate");
  document.getElementById("status").textContent = `${response.status} ${response.headers.get("content-type")}`;
  document.getElementById("challenge").textContent = challenge ? `WWW-Authenticate: ${challenge}` : "";
  const text = await response.text();
  try {
    answer.textContent = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    answer.textContent = text;
  }
});
