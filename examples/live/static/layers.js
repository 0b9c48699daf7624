// The layers: headers that the browser got, and facts that the endpoint saw.

import { addRow } from "./table.js";

const section = document.querySelector("[data-facts]");
const rows = document.getElementById("rows");

async function ask() {
  const response = await fetch(section.dataset.facts, { cache: "no-store" });
  const facts = await response.json();
  const header = (name) => response.headers.get(name);
  rows.replaceChildren();
  addRow(rows, "Proxy headers", `client ${facts.client}`);
  addRow(rows, "Request id", header("x-request-id"));
  addRow(rows, "Compression", header("content-encoding") ? `content-encoding: ${header("content-encoding")}` : "none");
  addRow(rows, "Security headers", header("content-security-policy"));
  addRow(rows, "Timeout", `${facts.seconds_left} s left when the endpoint ran`);
  addRow(rows, "The id in the endpoint", facts.request_id);
}

document.getElementById("again").addEventListener("click", ask);
ask();
