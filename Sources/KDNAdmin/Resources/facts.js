// A list of names with their values.

export function facts(pairs) {
  const list = document.createElement("dl");
  list.className = "facts";
  for (const [name, value] of pairs) {
    const [pair, term, detail] = ["div", "dt", "dd"].map((kind) => document.createElement(kind));
    term.textContent = name;
    detail.textContent = value;
    pair.append(term, detail);
    list.append(pair);
  }
  return list;
}
