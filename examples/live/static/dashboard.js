// The dashboard: an EventSource, which the browser reconnects with the id of its last event.

const values = [];
const source = new EventSource(document.querySelector("[data-load]").dataset.load);
const workers = new Set();
let count = 0;

source.onmessage = (event) => {
  if (!event.data) return;
  const { load, worker } = JSON.parse(event.data);
  count += 1;
  workers.add(worker);
  values.push(load);
  if (values.length > 120) values.shift();
  const top = Math.max(1, ...values);
  const points = values.map((value, at) => `${(600 * at) / 119},${135 - (130 * value) / top}`);
  document.querySelector("#chart polyline").setAttribute("points", points.join(" "));
  document.getElementById("load").textContent = load.toFixed(2);
  document.getElementById("by").textContent = worker;
  document.getElementById("events").textContent = `${count} events, measured by ${workers.size} worker${workers.size > 1 ? "s" : ""}.`;
};
