() => setTimeout(() => {
    const address = new URL(location);
    const caption = document.querySelector("#examples .thumbnail-item.selected .caption-label");
    address.searchParams.set("model", document.querySelector("#model input").value);
    if (caption) address.searchParams.set("example", caption.textContent.trim());
    else address.searchParams.delete("example");
    history.replaceState(history.state, "", address);
}, 300)
