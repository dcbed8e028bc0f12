"""A small Hugging Face Hub on loopback, for the real `huggingface_hub` client to talk to.

It speaks what the client uses: repositories, commits, uploads in Git LFS's basic way, trees, downloads, tags,
private and gated repositories, Space variables. `Fault` makes it fail where a test wants it to.
"""

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_BYTES = 10_000_000  # the real Hub's limit; binary files are stored this way whatever their size
DATE = "2026-01-01T00:00:00.000Z"
COLLECTIONS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


@dataclass(frozen=True)
class Blob:
    """Content of a file."""

    data: bytes
    is_lfs: bool

    @property
    def oid(self) -> str:
        """What the Hub compares: SHA-256 of LFS files, git's SHA-1 of others."""
        if self.is_lfs:
            return hashlib.sha256(self.data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()


@dataclass(frozen=True)
class Commit:
    """A state of a repository."""

    sha: str
    title: str
    files: dict[str, Blob]


@dataclass
class Repo:
    """A repository; `commits` in order, `refs` from branch or tag to commit."""

    id: str
    collection: str
    private: bool = False
    gated: bool = False
    settings: dict[str, Any] = field(default_factory=dict)  # of a Space: sdk, hardware, variables
    commits: list[Commit] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit("initial commit", {".gitattributes": Blob(b"*.safetensors filter=lfs\n", is_lfs=False)})

    @property
    def files(self) -> dict[str, Blob]:
        """The files of the branch main."""
        return self.at("main").files

    def at(self, revision: str) -> Commit:
        sha = self.refs.get(revision, revision)
        found = [commit for commit in self.commits if commit.sha == sha]
        if not found:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found[0]

    def commit(self, title: str, files: dict[str, Blob]) -> Commit:
        content = json.dumps([len(self.commits), title, sorted((p, b.oid) for p, b in files.items())])
        commit = Commit(hashlib.sha1(content.encode()).hexdigest(), title, files)
        self.commits.append(commit)
        self.refs["main"] = commit.sha
        return commit


@dataclass
class Fault:
    """What goes wrong, `times` times, with requests whose "METHOD /path" matches `pattern`.

    `answer`: an HTTP status; "drop" closes the connection without an answer; "die" cuts all connections, and
    the Hub is away for a moment; "truncate" sends half the file and claims that it is all; "break" claims the
    whole file and sends half.
    """

    pattern: str
    answer: int | str
    times: int = 1
    after: int = 0  # such requests that go well first


class HubError(Exception):
    """An answer of the Hub that is an error."""

    def __init__(self, status: int, code: str = "", message: str = ""):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message or code


class LoopbackHub:
    """Repositories in memory; they outlive `stop` and `start`.

    Attributes:
        url: where it listens, the same after every start.
        tokens: token to user name.
        organisations: what every user may write to besides their own name.
        repos: by collection ("models", "datasets", "spaces") and id.
        stored: what was uploaded by LFS, by SHA-256, committed or not.
        requests: "METHOD /path" of everything that was asked.
        faults: what is to go wrong.
    """

    def __init__(self, port: int | None = None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tokens = {"hf_alice": "alice", "hf_mallory": "mallory"}
        self.organisations = {"alice": ["org"], "mallory": []}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self._server: _Server | None = None

    def start(self) -> "LoopbackHub":
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Cut all connections and refuse new ones."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def __enter__(self) -> "LoopbackHub":
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def model(self, repo_id: str) -> Repo:
        return self.repos["models", repo_id]

    def space(self, repo_id: str) -> Repo:
        return self.repos["spaces", repo_id]

    def add_model(self, repo_id: str, files: dict[str, bytes], **kind: bool) -> Repo:
        """A model repository with these files, without any upload; `kind`: private, gated."""
        repo = self.repos["models", repo_id] = Repo(repo_id, "models", **kind)
        repo.commit("add files", {**repo.files, **{p: _blob(p, data) for p, data in files.items()}})
        return repo

    def may_write(self, user: str | None, repo_id: str) -> bool:
        owner = repo_id.partition("/")[0]
        return user is not None and (owner == user or owner in self.organisations[user])

    def fault(self, request: str) -> Fault | None:
        """The fault that this request meets, counted."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *args: Any):
        self.connections: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self.connections):
            _cut(connection)


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        self.body = self._read_body()
        parts = urlsplit(self.path)
        path, self.query = unquote(parts.path), parse_qs(parts.query)
        request = f"{self.command} {path}"
        self.hub.requests.append(request)
        self.fault = self.hub.fault(request)
        if self.fault and self.fault.answer in ("drop", "die"):
            if self.fault.answer == "die":
                self.hub.stop()
                threading.Timer(0.5, self.hub.start).start()
            self.close_connection = True
            return _cut(self.connection)
        try:
            if self.fault and isinstance(self.fault.answer, int):
                raise HubError(self.fault.answer, message=f"fault {self.fault.answer}")
            for pattern, method in ROUTES:
                if match := re.fullmatch(pattern, request):
                    return method(self, **match.groupdict())
            raise HubError(404, message=f"no such address: {request}")
        except HubError as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": error.message}
            self._send(error.status, {"error": error.message}, headers)

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def log_message(self, *args: Any) -> None:
        """Nothing: `LoopbackHub.requests` remembers them."""

    # What every answer needs.

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise HubError(401, message="Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def _repo(self, collection: str | None, repo_id: str, to_write: bool = False) -> Repo:
        repo = self.hub.repos.get((collection or "models", repo_id))
        if repo is None or (repo.private and not self.hub.may_write(self.user, repo_id)):
            # Without a token the Hub does not even say whether the repository exists.
            raise HubError(404 if self.user else 401, "RepoNotFound", "Repository not found")
        if to_write and not self.hub.may_write(self.user, repo_id):
            raise HubError(403, message=f"No rights to write to {repo_id}")
        return repo

    # The addresses.

    def whoami(self) -> None:
        if self.user is None:
            raise HubError(401, message="Invalid username or password.")
        token = {"displayName": "test", "role": "write", "createdAt": DATE}
        orgs = [{"name": name, "type": "org"} for name in self.hub.organisations[self.user]]
        self._send(200, {"name": self.user, "type": "user", "orgs": orgs, "auth": {"accessToken": token}})

    def create(self) -> None:
        asked = json.loads(self.body)
        owner, collection = asked.get("organization") or self.user, f"{asked.get('type') or 'model'}s"
        repo_id = f"{owner}/{asked['name']}"
        if not self.hub.may_write(self.user, repo_id):
            raise HubError(403 if self.user else 401, message=f"No rights to create {repo_id}")
        url = {"url": f"{self.hub.url}/{COLLECTIONS[collection]}{repo_id}"}
        with self.hub.lock:
            if (collection, repo_id) in self.hub.repos:
                return self._send(409, {"error": "You already created this repo", **url})
            settings = {k: v for k, v in asked.items() if k in ("sdk", "hardware", "variables")}
            if "variables" in settings:
                settings["variables"] = {v["key"]: v["value"] for v in settings["variables"]}
            private = asked.get("visibility") == "private"
            self.hub.repos[collection, repo_id] = Repo(repo_id, collection, private, settings=settings)
        self._send(200, url)

    def validate_yaml(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def preupload(self, collection: str, repo_id: str, revision: str) -> None:
        files = self._repo(collection, repo_id, to_write=True).at(revision).files
        answer = []
        for asked in json.loads(self.body)["files"]:
            is_lfs = _is_lfs(asked["path"], base64.b64decode(asked["sample"]), asked["size"])
            mode = {"uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False}
            known = files.get(asked["path"])
            answer.append({"path": asked["path"], **mode, "oid": known.oid if known else None})
        self._send(200, {"files": answer})

    def lfs_batch(self, collection: str | None, repo_id: str) -> None:
        self._repo((collection or "models/").rstrip("/"), repo_id, to_write=True)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            oid, size = asked["oid"], asked["size"]
            href = f"{self.hub.url}/lfs/{oid}"
            actions = {"upload": {"href": href, "header": {}}, "verify": {"href": f"{href}/verify"}}
            is_new = oid not in self.hub.stored
            objects.append({"oid": oid, "size": size, **({"actions": actions} if is_new else {})})
        self._send(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise HubError(400, message="content does not match its SHA-256")
        self.hub.stored[oid] = self.body
        self._send(200, {})

    def lfs_verify(self, oid: str) -> None:
        self._send(200 if oid in self.hub.stored else 404, {})

    def commit(self, collection: str, repo_id: str, revision: str) -> None:
        with self.hub.lock:
            repo = self._repo(collection, repo_id, to_write=True)
            files, title = dict(repo.at(revision).files), ""
            for line in self.body.splitlines():
                key, value = (item := json.loads(line))["key"], item["value"]
                if key == "header":
                    title = value["summary"]
                    if value.get("parentCommit") not in (None, repo.at(revision).sha):
                        raise HubError(412, message="A commit has happened since.")
                elif key == "file":
                    files[value["path"]] = Blob(base64.b64decode(value["content"]), is_lfs=False)
                elif key == "lfsFile":
                    if value["oid"] not in self.hub.stored:
                        raise HubError(400, message=f"{value['path']}: LFS object was not uploaded")
                    files[value["path"]] = Blob(self.hub.stored[value["oid"]], is_lfs=True)
                elif key == "deletedFile":
                    del files[value["path"]]
                elif key == "deletedFolder":
                    files = {p: b for p, b in files.items() if not p.startswith(value["path"])}
            sha = repo.commit(title, files).sha
        url = f"{self.hub.url}/{COLLECTIONS[collection]}{repo_id}/commit/{sha}"
        self._send(200, {"success": True, "commitOid": sha, "commitUrl": url})

    def info(self, collection: str, repo_id: str, revision: str | None = None) -> None:
        repo = self._repo(collection, repo_id)
        self._send(200, _describe(repo, repo.at(revision or "main")))

    def list(self, collection: str) -> None:
        author = self.query.get("author", [None])[0]
        wanted = set(self.query.get("filter", []))
        found = []
        for (kind, repo_id), repo in sorted(self.hub.repos.items()):
            is_visible = not repo.private or self.hub.may_write(self.user, repo_id)
            if kind == collection and is_visible and author in (None, repo_id.partition("/")[0]):
                found.append(_describe(repo, repo.at("main")))
        self._send(200, [info for info in found if wanted <= set(info["tags"])])

    def tree(self, collection: str, repo_id: str, revision: str) -> None:
        listed = []
        for path, blob in sorted(self._repo(collection, repo_id).at(revision).files.items()):
            row = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.oid[:40]}
            if blob.is_lfs:
                row["lfs"] = {"oid": blob.oid, "size": len(blob.data), "pointerSize": 130}
            listed.append(row)
        self._send(200, listed)

    def resolve(self, collection: str | None, repo_id: str, revision: str, path: str) -> None:
        repo = self._repo((collection or "models/").rstrip("/"), repo_id)
        if repo.gated and not self.hub.may_write(self.user, repo_id):
            raise HubError(403 if self.user else 401, "GatedRepo", f"Access to {repo_id} is restricted")
        commit = repo.at(revision)
        blob = commit.files.get(path)
        headers = {"X-Repo-Commit": commit.sha}
        if blob is None:
            return self._send(
                404, b"", {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            )
        headers["ETag"] = f'"{blob.oid}"'
        if blob.is_lfs:
            headers |= {"X-Linked-Etag": f'"{blob.oid}"', "X-Linked-Size": str(len(blob.data))}
        data, status = blob.data, 200
        if offset := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(offset[1])
            data, status = data[start:], 206
            headers["Content-Range"] = f"bytes {start}-{len(blob.data) - 1}/{len(blob.data)}"
        if self.fault and self.command == "GET":
            if self.fault.answer == "break":
                headers["Content-Length"] = str(len(data))
                self.close_connection = True
            data = data[: len(data) // 2]
        self._send(status, data, headers)

    def tag(self, collection: str, repo_id: str, revision: str) -> None:
        repo, name = self._repo(collection, repo_id, to_write=True), json.loads(self.body)["tag"]
        if name in repo.refs:
            raise HubError(409, message=f"Tag {name} exists")
        repo.refs[name] = repo.at(revision).sha
        self._send(200, {})

    def variable(self, repo_id: str) -> None:
        variables = self._repo("spaces", repo_id, to_write=True).settings.setdefault("variables", {})
        asked = json.loads(self.body)
        variables[asked["key"]] = asked["value"]
        self._send(200, {key: {"value": value, "updatedAt": DATE} for key, value in variables.items()})

    def hardware(self, repo_id: str) -> None:
        settings = self._repo("spaces", repo_id, to_write=True).settings
        settings["hardware"] = json.loads(self.body)["flavor"]
        runtime = {"stage": "BUILDING", "hardware": {"current": None, "requested": settings["hardware"]}}
        self._send(200, runtime)


def _routes() -> list[tuple[str, Callable[..., None]]]:
    collection, repo = "(?P<collection>models|datasets|spaces)", "(?P<repo_id>[^/]+/[^/]+)"
    prefix, revision = "(?P<collection>datasets/|spaces/)?", "(?P<revision>[^/]+)"
    return [
        ("GET /api/whoami-v2", _Handler.whoami),
        ("POST /api/repos/create", _Handler.create),
        ("POST /api/validate-yaml", _Handler.validate_yaml),
        (f"POST /api/{collection}/{repo}/preupload/{revision}", _Handler.preupload),
        (f"POST /{prefix}{repo}\\.git/info/lfs/objects/batch", _Handler.lfs_batch),
        ("PUT /lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_put),
        ("POST /lfs/(?P<oid>[0-9a-f]{64})/verify", _Handler.lfs_verify),
        (f"POST /api/{collection}/{repo}/commit/{revision}", _Handler.commit),
        (f"GET /api/{collection}/{repo}(/revision/{revision})?", _Handler.info),
        (f"GET /api/{collection}", _Handler.list),
        (f"GET /api/{collection}/{repo}/tree/{revision}", _Handler.tree),
        (f"(GET|HEAD) /{prefix}{repo}/resolve/{revision}/(?P<path>.+)", _Handler.resolve),
        (f"POST /api/{collection}/{repo}/tag/{revision}", _Handler.tag),
        (f"POST /api/spaces/{repo}/variables", _Handler.variable),
        (f"POST /api/spaces/{repo}/hardware", _Handler.hardware),
    ]


ROUTES = _routes()


def _describe(repo: Repo, commit: Commit) -> dict[str, Any]:
    card = commit.files.get("README.md", Blob(b"", is_lfs=False)).data.decode()
    tags = re.findall(r"^- (\S+)$", card.partition("\n---\n")[0], flags=re.MULTILINE)
    library = re.findall(r"^library_name: (\S+)$", card, flags=re.MULTILINE)
    siblings = [{"rfilename": path, "size": len(blob.data)} for path, blob in sorted(commit.files.items())]
    flags = {"private": repo.private, "gated": "manual" if repo.gated else False, "disabled": False}
    dates = {"createdAt": DATE, "lastModified": DATE}
    return {"id": repo.id, "sha": commit.sha, "tags": tags + library, "siblings": siblings, **flags, **dates}


def _blob(path: str, data: bytes) -> Blob:
    return Blob(data, _is_lfs(path, data[:512], len(data)))


def _is_lfs(path: str, sample: bytes, size: int) -> bool:
    return size > LFS_BYTES or path.endswith(".safetensors") or b"\0" in sample


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client was faster
        connection.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
