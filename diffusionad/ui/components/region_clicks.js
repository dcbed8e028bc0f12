element.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-region]");
    if (row) trigger("click", {region: Number(row.dataset.region)});
});
