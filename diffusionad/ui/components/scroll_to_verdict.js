() => setTimeout(() => {
    const verdict = document.getElementById("verdict"), box = verdict.getBoundingClientRect();
    if (box.top < 0 || box.bottom > innerHeight) verdict.scrollIntoView({behavior: "smooth"});
}, 100)
