() => {
    const name = (block) => {
        const label = block.querySelector("[data-testid='block-label']");
        const names = label ? label.textContent.trim().split(" | ") : [];
        block.querySelectorAll("img:not([alt]), img[alt='']").forEach((picture, i) => {
            picture.alt = names[i % names.length] || "Picture";
        });
    };
    const nameAll = () => document.querySelectorAll(".block").forEach(name);
    new MutationObserver(nameAll).observe(document.body, {childList: true, subtree: true});
    nameAll();
}
