// The victim's page: what the attacker reports, and what the server and the browser say about it.

const section = document.querySelector("[data-events]");
const comment = document.getElementById("comment");
const refused = new Set();

function show(attempt, column, text) {
  document.getElementById(attempt).cells[column].textContent = text;
}

function receive(event) {
  if (event.origin !== section.dataset.attacker) return;
  const { attempt, seen, html } = event.data;
  show(attempt, 1, seen);
  // The mistake of this page, on purpose: it shows a stranger's comment as HTML.
  if (html) comment.innerHTML = html;
}

function explain({ attempt, reason }) {
  show(attempt, 2, reason);
  refused.add(attempt);
  const stolen = document.body.dataset.stolen ? "A script has run!" : "Nothing was stolen.";
  document.getElementById("verdict").textContent = `${refused.size} of 4 attempts refused. ${stolen}`;
}

if (section) {
  window.addEventListener("message", receive);
  new EventSource(section.dataset.events).onmessage = (event) => {
    if (event.data) explain(JSON.parse(event.data));
  };
}
