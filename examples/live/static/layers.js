// The layers: headers that the browser got, and facts that the endpoint saw.

const section = document.querySelector("[data-facts]");
const rows = document.getElementById("rows");

function add(layer, seen) {
  const row = rows.insertRow();
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = layer;
  row.append(name);
  row.insertCell().textContent = seen ?? "nothing";
}

async function ask() {
  const response = await fetch(section.dataset.facts, { cache: "no-store" });
  const facts = await response.json();
  const header = (name) => response.headers.get(name);
  rows.replaceChildren();
  add("Proxy headers", `client ${facts.client}`);
  add("Request id", header("x-request-id"));
  add("Compression", header("content-encoding") ? `content-encoding: ${header("content-encoding")}` : "none");
  add("Security headers", header("content-security-policy"));
  add("Timeout", `${facts.seconds_left} s left when the endpoint ran`);
  add("The id in the endpoint", facts.request_id);
}

document.getElementById("again").addEventListener("click", ask);
ask();
