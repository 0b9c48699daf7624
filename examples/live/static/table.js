// Rows of tables. Other modules import this one by its plain name: the server sends it with "no-cache", and
// the hashed copies import it as well.

export function addRow(body, heading, ...cells) {
  const row = body.insertRow();
  const first = document.createElement("th");
  first.scope = "row";
  first.textContent = heading;
  row.append(first);
  for (const cell of cells) row.insertCell().textContent = cell ?? "nothing";
  return row;
}
