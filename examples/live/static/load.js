// The graph: five times a second, one column with the numbers of all workers.

const section = document.querySelector("[data-start]");
const graph = document.getElementById("graph");
const state = document.getElementById("state");
const button = document.getElementById("start");

const KINDS = ["active", "waiting", "late", "refused"]; // from the bottom to the top of a column
const COLUMNS = 50;
const TOP = 30; // requests
const workers = new Map();
let before = null; // the sums at the last column
let first = null; // the sums at the start of the burst
let columns = 0;
let timer = null;

function sums() {
  const total = { active: 0, waiting: 0, served: 0, refused: 0, late: 0 };
  for (const numbers of workers.values()) {
    for (const kind of Object.keys(total)) total[kind] += numbers[kind];
  }
  return total;
}

function addColumn(values) {
  let y = 160;
  for (const kind of KINDS) {
    const height = (160 * values[kind]) / TOP;
    y -= height;
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ x: columns * 12 + 1, y, width: 10, height, class: kind })) {
      bar.setAttribute(name, value);
    }
    graph.append(bar);
  }
  columns += 1;
}

function draw() {
  const now = sums();
  // Requests that are here, and those that have been refused or cut off since the last column.
  addColumn({ ...now, refused: now.refused - before.refused, late: now.late - before.late });
  before = now;
  for (const kind of ["active", "waiting"]) document.getElementById(kind).textContent = now[kind];
  for (const kind of ["served", "refused", "late"]) document.getElementById(kind).textContent = now[kind] - first[kind];
  if (columns === COLUMNS) clearInterval(timer);
}

const source = new EventSource(section.dataset.watch);
source.onmessage = (event) => {
  if (!event.data) return;
  const numbers = JSON.parse(event.data);
  workers.set(numbers.worker, numbers);
};
source.addEventListener("end", (event) => {
  const { statuses, waits } = JSON.parse(event.data);
  const list = Object.entries(statuses).map(([status, count]) => `${count} × ${status}`);
  const wait = waits.length ? ` Each 503 says when to come back: Retry-After ${waits.join(", ")}.` : "";
  state.textContent = `The visitors got ${list.join(", ")}.${wait}`;
  button.disabled = false;
  setTimeout(() => clearInterval(timer), 1000);
});

button.addEventListener("click", async () => {
  button.disabled = true;
  const response = await fetch(section.dataset.start, { method: "POST" });
  const { requests, error } = await response.json().catch(() => ({ error: "try again later" }));
  if (!response.ok) {
    state.textContent = `${response.status}: ${error}`;
    button.disabled = false;
    return;
  }
  graph.replaceChildren();
  columns = 0;
  first = before = sums();
  clearInterval(timer);
  timer = setInterval(draw, 200);
  state.textContent = `${requests} requests are on their way.`;
});
