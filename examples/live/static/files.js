// The files: asks for each one twice, the second time with the tag of the first answer.

const { format: number } = new Intl.NumberFormat("en");
const total = { decoded: 0, sent: 0 };

function describe(control) {
  const seconds = Number(/max-age=(\d+)/.exec(control)?.[1] ?? 0);
  return seconds ? `${Math.round(seconds / 86400)} days` : "not without asking";
}

async function ask(row) {
  const url = row.dataset.url;
  performance.clearResourceTimings();
  const first = await fetch(url, { cache: "no-store" });
  await first.arrayBuffer();
  const timing = performance.getEntriesByName(new URL(url, location).href).at(-1);
  const again = await fetch(url, { headers: { "if-none-match": first.headers.get("etag") } });
  const encoding = first.headers.get("content-encoding") ?? "as it is";
  total.decoded += timing.decodedBodySize;
  total.sent += timing.encodedBodySize;
  row.cells[3].textContent = `${number(timing.encodedBodySize)}, ${encoding}`;
  row.cells[4].textContent = describe(first.headers.get("cache-control") ?? "");
  row.cells[5].textContent = `${again.status}, ${(await again.arrayBuffer()).byteLength} bytes`;
}

for (const row of document.querySelectorAll("#files tr")) await ask(row);
const saved = Math.round(100 * (1 - total.sent / total.decoded));
document.getElementById("total").textContent = `${number(total.sent)} bytes sent for ${number(total.decoded)}: ${saved} % saved.`;

const section = document.querySelector("[data-upload]");
const uploaded = document.getElementById("uploaded");

async function upload(text) {
  const packed = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  const body = await new Response(packed).arrayBuffer();
  const response = await fetch(section.dataset.upload, {
    method: "POST",
    headers: { "content-encoding": "gzip", "content-type": "application/json" },
    body,
  });
  const answer = await response.json();
  uploaded.textContent = response.ok
    ? `${number(body.byteLength)} bytes sent, ${number(answer.size)} read by the endpoint.`
    : `${response.status} for ${number(body.byteLength)} bytes: ${answer.error}`;
}

const stars = Array.from({ length: 8000 }, (_, at) => ({ id: at, name: `HD ${at * 7919}`, magnitude: (at % 97) / 10 }));
document.getElementById("upload").addEventListener("click", () => upload(JSON.stringify(stars)));
document.getElementById("bomb").addEventListener("click", () => upload(" ".repeat(20_000_000)));
