// A table with headers that sort, inside a frame that scrolls sideways when it must.

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

export class Table {
  // columns: [{ title, value(row), text(row)?, numeric?, wide? }]; `sorted` is the column by which
  // rows come first, null for the order in which they are given.
  constructor(holder, { name, columns, empty, sorted = null, descending = true, most = 200 }) {
    this.holder = holder;
    this.columns = columns;
    this.sorted = sorted;
    this.descending = descending;
    this.most = most;
    this.rows = [];
    this.table = element("table");
    this.table.append(element("caption", "sr-only", name), element("thead"), element("tbody"));
    this.empty = element("p", "empty", empty);
    this.more = element("p", "hint");
    this.frame = element("div", "scroll");
    this.frame.tabIndex = 0;
    this.frame.setAttribute("role", "region");
    this.frame.setAttribute("aria-label", name);
    this.frame.append(this.table);
    this.head();
    holder.append(this.frame, this.empty, this.more);
    this.show([]);
  }

  head() {
    const row = element("tr");
    this.heads = this.columns.map((column, index) => {
      const cell = element("th", column.numeric ? "numeric" : "");
      cell.scope = "col";
      const button = element("button", "sort", column.title);
      button.type = "button";
      button.addEventListener("click", () => this.sort(index));
      cell.append(button);
      return cell;
    });
    row.append(...this.heads);
    this.table.tHead.append(row);
  }

  sort(index) {
    const again = this.sorted === index;
    this.descending = again ? !this.descending : this.columns[index].numeric === true;
    this.sorted = index;
    this.show(this.rows);
  }

  show(rows) {
    this.rows = rows;
    this.heads.forEach((cell, index) => {
      const order = this.descending ? "descending" : "ascending";
      cell.setAttribute("aria-sort", index === this.sorted ? order : "none");
    });
    const ordered = this.sorted === null ? rows : [...rows].sort(this.inOrder());
    this.table.tBodies[0].replaceChildren(
      ...ordered.slice(0, this.most).map((row) => this.line(row)),
    );
    this.frame.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
    this.more.textContent = rows.length > this.most ? `${rows.length - this.most} more` : "";
  }

  inOrder() {
    const { value } = this.columns[this.sorted];
    const sign = this.descending ? -1 : 1;
    return (left, right) => {
      const [one, other] = [value(left), value(right)];
      if (typeof one === "string") return sign * one.localeCompare(other);
      return sign * ((one ?? -1) - (other ?? -1));
    };
  }

  line(row) {
    const made = element("tr");
    this.columns.forEach((column, index) => {
      const cell = element(index === 0 ? "th" : "td");
      if (index === 0) cell.scope = "row";
      if (column.numeric) cell.classList.add("numeric");
      if (column.wide) cell.classList.add("wide");
      cell.textContent = (column.text ?? column.value)(row);
      made.append(cell);
    });
    return made;
  }
}
