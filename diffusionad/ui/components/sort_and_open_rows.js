const value = (row, column) => {
    const text = row.children[column].dataset.value ?? row.children[column].textContent;
    return text !== '' && !isNaN(text) ? Number(text) : text;
};
const sort = (head) => {
    const column = [...head.parentNode.children].indexOf(head);
    const descending = head.ariaSort === 'ascending';
    const body = element.querySelector('tbody');
    const compare = (a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        if (x === '' || y === '') return (x === '') - (y === '');  // nothing to compare goes last
        const isNumber = typeof x === 'number' && typeof y === 'number';
        const order = isNumber ? x - y : String(x).localeCompare(String(y));
        return descending ? -order : order;
    };
    body.append(...[...body.rows].sort(compare));
    for (const other of head.parentNode.children) other.removeAttribute('aria-sort');
    head.ariaSort = descending ? 'descending' : 'ascending';
};
element.addEventListener('click', (event) => {
    const head = event.target.closest('th[data-sorts]');
    if (head) return sort(head);
    const row = event.target.closest('tr[data-row]');
    if (row) trigger('click', {row: Number(row.dataset.row)});
});
