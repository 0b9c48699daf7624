// Operations: the access log of a worker, some metrics of all of them, and their health.

import { addRow } from "./table.js";

const NAME = "http_server_request_duration_seconds";

async function showLog() {
  const response = await fetch(document.querySelector("[data-log]").dataset.log, { cache: "no-store" });
  const { worker, request_id: id, lines, error } = await response.json();
  if (error) {
    document.getElementById("about").textContent = `${response.status}: ${error}`;
    return;
  }
  document.getElementById("about").textContent = `Worker ${worker} has answered request ${id}. Its line is written once the answer has left.`;
  document.getElementById("lines").textContent = lines.join("\n");
}

// A line of the text format: name{label="value",...} number
function* read(text) {
  for (const line of text.split("\n")) {
    const found = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...(found[2] ?? "").matchAll(/(\w+)="([^"]*)"/g)].map((one) => one.slice(1)));
    yield { name: found[1], labels, value: Number(found[3]) };
  }
}

async function showMetrics() {
  const text = await (await fetch(document.querySelector("[data-metrics]").dataset.metrics, { cache: "no-store" })).text();
  const routes = new Map();
  const gauges = { http_server_active_requests: 0, http_server_active_streams: 0, spica_tasks_running: 0 };
  for (const { name, labels, value } of read(text)) {
    if (name in gauges) gauges[name] += value;
    if (name !== `${NAME}_count` && name !== `${NAME}_sum`) continue;
    const key = `${labels.method} ${labels.route} ${labels.status}`;
    const row = routes.get(key) ?? { ...labels, count: 0, sum: 0 };
    row[name.endsWith("_count") ? "count" : "sum"] += value;
    routes.set(key, row);
  }
  const body = document.getElementById("metrics");
  body.replaceChildren();
  const busiest = [...routes.values()].sort((one, other) => other.count - one.count).slice(0, 8);
  for (const { method, route, status, count, sum } of busiest) {
    addRow(body, `${method} ${route}`, status, count, `${((1000 * sum) / count).toFixed(1)} ms`);
  }
  const [requests, streams, tasks] = Object.values(gauges);
  document.getElementById("gauges").textContent = `In progress: requests ${requests}, streams ${streams}, tasks ${tasks}.`;
}

async function showHealth() {
  for (const each of document.querySelectorAll("[data-check]")) {
    const response = await fetch(each.dataset.check, { cache: "no-store" }).catch(() => null);
    each.textContent = response ? `${response.status} ${await response.text()}` : "no answer";
  }
}

function addState({ worker, state }) {
  const list = document.getElementById("states");
  if (!list.querySelector("b")) list.replaceChildren();
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = `Worker ${worker}`;
  line.append(name, ` ${state}, ${new Date().toLocaleTimeString()}`);
  list.prepend(line);
  if (list.children.length > 6) list.lastChild.remove();
}

async function showAll() {
  await showLog();
  await showMetrics();
}

document.getElementById("again").addEventListener("click", showAll);
showAll();
showHealth();
setInterval(showHealth, 500);
new EventSource(document.querySelector("[data-workers]").dataset.workers).onmessage = (event) => {
  if (event.data) addState(JSON.parse(event.data));
};
