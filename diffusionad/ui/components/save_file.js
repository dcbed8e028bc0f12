() => setTimeout(() => document.querySelector('#download-file, #download-file *').click(), 100)
